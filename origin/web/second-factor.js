// One-time codes: setting them up (password, QR code, first code, recovery codes), and removing them.
// From here a button leads to the other kind of second factor, passkeys.

import * as api from "./api.js";
import { onLanguageChange, t } from "./i18n.js";
import { canUsePasskeys, clearPasskeys, openPasskeys, proved, startPasskeys } from "./passkeys.js";

const byId = (id) => document.getElementById(id);
const dialog = byId("factor-dialog");
const form = byId("factor-form");
const password = byId("factor-password");
const code = byId("factor-code");
const mistake = byId("factor-mistake");
const submit = byId("factor-submit");
const codes = byId("factor-codes");

// off: there are none; offered: the secret waits for its first code; codes: shown once; on: they count.
let state = "off";
let left = 0;
let hasPasskey = false;
let isNeeded = false;
// What was needed is set up.
let isSet = false;
let onDone = () => {};

/** `onProblem` gets what went wrong; `onSet` is called when one that was needed is set up. */
export function startSecondFactor(button, { onProblem, onSet, onOut }) {
  button.addEventListener("click", async () => {
    try {
      open((await api.me()).second_factor);
    } catch (problem) {
      onProblem(problem);
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (submit.disabled) return;
    submit.disabled = true;
    mistake.textContent = "";
    try {
      await steps[state]();
    } catch (problem) {
      refuse(problem, onProblem);
    } finally {
      submit.disabled = false;
    }
  });
  byId("factor-close").addEventListener("click", () => dialog.close());
  startPasskeys({
    onProblem: (problem) => {
      dialog.close();
      onProblem(problem);
    },
    onChange: async () => {
      const factor = (await api.me()).second_factor;
      isSet = factor !== null;
      if (isSet && isNeeded) dialog.close();
      else take(factor);
    },
  });
  byId("factor-passkeys").addEventListener("click", () => openPasskeys());
  // What is shown only once does not go away by a key.
  dialog.addEventListener("cancel", (event) => {
    if (state === "codes") event.preventDefault();
  });
  dialog.addEventListener("close", () => {
    const isDone = isSet || state === "codes";
    isSet = false;
    clear();
    if (!isNeeded) return;
    isNeeded = false;
    if (isDone) onSet();
    else onOut();
  });
  onDone = () => dialog.close();
  onLanguageChange(render);
}

/** For an account that can do nothing before it has one. */
export function needSecondFactor() {
  isNeeded = true;
  open(null);
}

/** Forgets what was shown; the next reader may be somebody else. */
export function clearSecondFactor() {
  isNeeded = false;
  clearPasskeys();
  dialog.close();
}

const steps = {
  async off() {
    const offer = await proved((proof) => api.offerSecondFactor(password.value, proof), api.codeOf(code.value));
    byId("factor-qr").src = `data:image/svg+xml,${encodeURIComponent(offer.qr_svg)}`;
    byId("factor-secret").textContent = offer.secret.match(/.{1,4}/g).join(" ");
    go("offered");
  },
  async offered() {
    const made = await api.confirmSecondFactor(code.value);
    showCodes(codes, made.recovery_codes);
    // An account with a passkey has its recovery codes already.
    if (made.recovery_codes.length > 0) go("codes");
    else take((await api.me()).second_factor);
  },
  async codes() {
    onDone();
  },
  async on() {
    await proved((proof) => api.removeSecondFactor(password.value, proof), api.codeOf(code.value));
    go("off");
  },
};

function open(factor) {
  mistake.textContent = "";
  take(factor);
  dialog.showModal();
  focusFirst();
}

function take(factor) {
  left = factor?.recovery_codes ?? 0;
  hasPasskey = (factor?.passkeys ?? 0) > 0;
  go(factor?.totp ? "on" : "off");
}

function go(next) {
  state = next;
  form.reset();
  render();
  focusFirst();
}

function focusFirst() {
  (password.offsetParent ? password : code.offsetParent ? code : submit).focus();
}

/** Shows recovery codes in a list. */
function showCodes(list, texts) {
  list.replaceChildren(
    ...texts.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }),
  );
}

function clear() {
  state = "off";
  hasPasskey = false;
  form.reset();
  byId("factor-qr").removeAttribute("src");
  byId("factor-secret").textContent = "";
  codes.replaceChildren();
}

function refuse(problem, onProblem) {
  if (problem.code === "passkey") mistake.textContent = t("problem_passkey");
  else if (problem.status === 429) mistake.textContent = t("codes_too_many");
  else if (problem.code === "request_invalid") {
    mistake.textContent = t(problem.detail.startsWith("current password") ? "password_wrong" : "code_wrong");
  } else {
    dialog.close();
    onProblem(problem);
  }
}

function render() {
  byId("factor-text").textContent = t(`factor_${state}${state === "off" && isNeeded ? "_needed" : ""}`, { left });
  byId("factor-offer").hidden = state !== "offered";
  codes.hidden = state !== "codes";
  byId("factor-password-field").hidden = state !== "off" && state !== "on";
  byId("factor-code-field").hidden = state === "codes" || (state === "off" && !hasPasskey);
  byId("factor-code-hint").hidden = state === "offered" || !hasPasskey || !canUsePasskeys();
  byId("factor-passkeys").hidden = state === "offered" || state === "codes";
  byId("factor-close").hidden = state === "codes";
  submit.textContent = t(`factor_${state}_submit`);
  submit.className = state === "on" ? "danger" : "primary";
}
