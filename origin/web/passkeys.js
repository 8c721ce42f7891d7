// Passkeys (WebAuthn): asking the device, and adding, naming and removing them.

import * as api from "./api.js";
import { fullMoment, moment } from "./format.js";
import { onLanguageChange, t } from "./i18n.js";

const byId = (id) => document.getElementById(id);
const dialog = byId("passkeys-dialog");
const form = byId("passkeys-form");
const list = byId("passkeys-list");
const codes = byId("passkeys-codes");
const name = byId("passkeys-name");
const password = byId("passkeys-password");
const code = byId("passkeys-code");
const mistake = byId("passkeys-mistake");
const back = byId("passkeys-back");
const submit = byId("passkeys-submit");
const template = byId("passkey-template");

// list: what there is; add, remove: asks for proof; codes: shown once.
let state = "list";
let passkeys = [];
let hasFactor = false;
let chosen = null;
let isChanged = false;

/** Whether this browser has passkeys for this page: they need HTTPS, or this very machine. */
export const canUsePasskeys = () =>
  isSecureContext && typeof window.PublicKeyCredential?.parseRequestOptionsFromJSON === "function";

/**
 * Makes a request with `proof`. If it is refused because a second factor is missing, and a passkey
 * would do, the device is asked and the request made once more with what it signed.
 */
export async function proved(request, proof) {
  try {
    return await request(proof);
  } catch (problem) {
    const isTyped = "totp" in proof || "recovery_code" in proof;
    if (!problem.passkey || isTyped || !canUsePasskeys()) throw problem;
    const options = PublicKeyCredential.parseRequestOptionsFromJSON(problem.passkey.publicKey);
    const passkey = await byDevice(() => navigator.credentials.get({ publicKey: options }), problem.passkey);
    return request({ ...proof, passkey });
  }
}

// Whatever keeps a device from signing, its owner can only try again or do something else.
async function byDevice(work, passkey = null) {
  try {
    return (await work()).toJSON();
  } catch {
    throw new api.Problem({ code: "passkey", passkey });
  }
}

/** `onProblem` gets what went wrong; `onChange` is called when the dialog closes after a change. */
export function startPasskeys({ onProblem, onChange }) {
  const attempt = async (work) => {
    if (submit.disabled) return;
    submit.disabled = true;
    mistake.textContent = "";
    try {
      await work();
    } catch (problem) {
      refuse(problem, onProblem);
    } finally {
      submit.disabled = false;
    }
  };
  openPasskeys = () =>
    attempt(async () => {
      await load();
      go("list");
      dialog.showModal();
    });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(steps[state]);
  });
  back.addEventListener("click", () => (state === "list" ? dialog.close() : go("list")));
  list.addEventListener("click", (event) => {
    const id = event.target.closest("button")?.dataset.id;
    chosen = passkeys.find((passkey) => passkey.id === id) ?? null;
    if (chosen) go("remove");
  });
  // What is shown only once does not go away by a key.
  dialog.addEventListener("cancel", (event) => {
    if (state === "codes") event.preventDefault();
  });
  dialog.addEventListener("close", async () => {
    const wasChanged = isChanged;
    clear();
    try {
      if (wasChanged) await onChange();
    } catch (problem) {
      onProblem(problem);
    }
  });
  onLanguageChange(render);
}

/** Shows what there is, once `startPasskeys` was called. */
export let openPasskeys = () => {};

/** Forgets what was shown; the next reader may be somebody else. */
export function clearPasskeys() {
  isChanged = false;
  dialog.close();
  clear();
}

const steps = {
  async list() {
    go("add");
  },
  async add() {
    const called = name.value.trim();
    if (!called) {
      mistake.textContent = t("passkey_name_missing");
      name.focus();
      return;
    }
    const offer = await proved((proof) => api.offerPasskey(password.value, proof), api.codeOf(code.value));
    const options = PublicKeyCredential.parseCreationOptionsFromJSON(offer.publicKey);
    const credential = await byDevice(() => navigator.credentials.create({ publicKey: options }));
    const added = await api.addPasskey(called, credential);
    isChanged = true;
    await load();
    codes.replaceChildren(
      ...added.recovery_codes.map((text) => {
        const item = document.createElement("li");
        item.textContent = text;
        return item;
      }),
    );
    // An account that had a second factor has its recovery codes already.
    go(added.recovery_codes.length > 0 ? "codes" : "list");
  },
  async remove() {
    await proved((proof) => api.removePasskey(chosen.id, password.value, proof), api.codeOf(code.value));
    isChanged = true;
    await load();
    go("list");
  },
  async codes() {
    dialog.close();
  },
};

async function load() {
  const [factor, known] = await Promise.all([api.me(), api.passkeys()]);
  hasFactor = factor.second_factor !== null;
  passkeys = known;
}

function go(next) {
  state = next;
  form.reset();
  mistake.textContent = "";
  render();
  ({ add: name, remove: password }[state] ?? submit).focus();
}

function clear() {
  state = "list";
  passkeys = [];
  chosen = null;
  isChanged = false;
  form.reset();
  codes.replaceChildren();
  list.replaceChildren();
}

function refuse(problem, onProblem) {
  if (problem.code === "passkey") mistake.textContent = t("problem_passkey");
  else if (problem.status === 429) mistake.textContent = t("codes_too_many");
  else if (problem.code === "conflict") mistake.textContent = t("passkey_conflict");
  else if (problem.code === "request_invalid") {
    const which = ["current password", "password"].some((start) => problem.detail.startsWith(start))
      ? "password_wrong"
      : problem.detail.startsWith("code")
        ? "code_wrong"
        : "passkey_wrong";
    mistake.textContent = t(which);
  } else {
    dialog.close();
    onProblem(problem);
  }
}

function render() {
  const isAsking = state === "add" || state === "remove";
  const can = canUsePasskeys();
  byId("passkeys-text").textContent = t(state === "list" && !can ? "passkeys_unsupported" : `passkeys_${state}`, {
    name: chosen?.name ?? "",
  });
  list.hidden = state !== "list";
  codes.hidden = state !== "codes";
  byId("passkeys-name-field").hidden = state !== "add";
  byId("passkeys-password-field").hidden = !isAsking;
  byId("passkeys-code-field").hidden = !isAsking || !hasFactor;
  byId("passkeys-code-hint").hidden = passkeys.length === 0 || !can;
  back.hidden = state === "codes";
  back.textContent = t(isAsking ? "cancel" : "close");
  submit.hidden = state === "list" && !can;
  submit.textContent = t(`passkeys_${state}_submit`);
  submit.className = state === "remove" ? "danger" : "primary";
  list.replaceChildren(...passkeys.map(item));
}

function item(passkey) {
  const made = template.content.cloneNode(true);
  const at = passkey.used_at ?? passkey.created_at;
  made.querySelector(".device").textContent = passkey.name;
  const time = made.querySelector("time");
  time.dateTime = at;
  time.title = fullMoment(new Date(at));
  time.textContent = t(passkey.used_at ? "passkey_used" : "passkey_made", { when: moment(new Date(at)) });
  const button = made.querySelector("button");
  button.dataset.id = passkey.id;
  button.textContent = t("passkey_remove");
  button.setAttribute("aria-label", t("passkey_remove_of", { name: passkey.name }));
  return made;
}
