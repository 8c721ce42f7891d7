// The second factor: setting it up (password, QR code, first code, recovery codes), and removing it.

import * as api from "./api.js";
import { onLanguageChange, t } from "./i18n.js";

const byId = (id) => document.getElementById(id);
const dialog = byId("factor-dialog");
const form = byId("factor-form");
const password = byId("factor-password");
const code = byId("factor-code");
const mistake = byId("factor-mistake");
const submit = byId("factor-submit");
const codes = byId("factor-codes");

// off: there is none; offered: it waits for its first code; codes: shown once; on: it counts.
let state = "off";
let left = 0;
let isNeeded = false;
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
  // What is shown only once does not go away by a key.
  dialog.addEventListener("cancel", (event) => {
    if (state === "codes") event.preventDefault();
  });
  dialog.addEventListener("close", () => {
    const isSet = state === "codes";
    clear();
    if (!isNeeded) return;
    isNeeded = false;
    if (isSet) onSet();
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
  dialog.close();
}

const steps = {
  async off() {
    const offer = await api.offerSecondFactor(password.value);
    byId("factor-qr").src = `data:image/svg+xml,${encodeURIComponent(offer.qr_svg)}`;
    byId("factor-secret").textContent = offer.secret.match(/.{1,4}/g).join(" ");
    go("offered");
  },
  async offered() {
    const made = await api.confirmSecondFactor(code.value);
    codes.replaceChildren(
      ...made.recovery_codes.map((text) => {
        const item = document.createElement("li");
        item.textContent = text;
        return item;
      }),
    );
    go("codes");
  },
  async codes() {
    onDone();
  },
  async on() {
    await api.removeSecondFactor(password.value, api.codeOf(code.value));
    go("off");
  },
};

function open(factor) {
  left = factor?.recovery_codes ?? 0;
  mistake.textContent = "";
  go(factor ? "on" : "off");
  dialog.showModal();
}

function go(next) {
  state = next;
  form.reset();
  render();
  (password.offsetParent ? password : code.offsetParent ? code : submit).focus();
}

function clear() {
  state = "off";
  form.reset();
  byId("factor-qr").removeAttribute("src");
  byId("factor-secret").textContent = "";
  codes.replaceChildren();
}

function refuse(problem, onProblem) {
  if (problem.status === 429) mistake.textContent = t("codes_too_many");
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
  byId("factor-code-field").hidden = state !== "offered" && state !== "on";
  byId("factor-close").hidden = state === "codes";
  submit.textContent = t(`factor_${state}_submit`);
  submit.className = state === "on" ? "danger" : "primary";
}
