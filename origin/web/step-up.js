// Some things ask for a recent login (401 step_up_required). The reader proves again who they are,
// and the request that was refused is made once more.

import * as api from "./api.js";
import { onLanguageChange, t } from "./i18n.js";
import { offerProof } from "./oidc.js";
import { canUsePasskeys, proved } from "./passkeys.js";

const dialog = document.getElementById("step-up-dialog");
const form = document.getElementById("step-up-form");
const label = document.getElementById("step-up-label");
const secret = document.getElementById("step-up-secret");
const hint = document.getElementById("step-up-hint");
const mistake = document.getElementById("step-up-mistake");
const submit = document.getElementById("step-up-submit");
const providers = document.getElementById("step-up-providers");

let hasFactor = false;
let hasPasskey = false;
// The account has no password, and its provider can ask.
let isElsewhere = false;
let answer = () => {};
let pending = null;

/** From now on the page asks by itself. However many requests wait, one dialog is shown. */
export function startStepUp() {
  api.onStepUp(() => {
    pending ??= ask().finally(() => {
      pending = null;
    });
    return pending;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!submit.disabled) prove();
  });
  document.getElementById("step-up-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    form.reset();
    answer(false);
  });
  onLanguageChange(render);
}

async function ask() {
  const factor = (await api.me()).second_factor;
  hasFactor = factor !== null;
  hasPasskey = hasFactor && factor.passkeys > 0 && canUsePasskeys();
  isElsewhere = !hasFactor && (await offerProof(providers));
  mistake.textContent = "";
  render();
  dialog.showModal();
  (isElsewhere ? providers.querySelector("button") : secret).focus();
  return new Promise((resolve) => {
    answer = resolve;
  });
}

async function prove() {
  submit.disabled = true;
  mistake.textContent = "";
  try {
    await proved(api.stepUp, hasFactor ? api.codeOf(secret.value) : { password: secret.value });
    answer(true);
    dialog.close();
  } catch (problem) {
    if (problem.code === "passkey") mistake.textContent = t("problem_passkey");
    else if (problem.status === 429) mistake.textContent = t("codes_too_many");
    else if (problem.status === 400) mistake.textContent = t(hasFactor ? "code_wrong" : "password_wrong");
    else dialog.close();
    secret.select();
  } finally {
    submit.disabled = false;
  }
}

function render() {
  hint.hidden = !hasPasskey;
  providers.hidden = !isElsewhere;
  secret.closest(".field").hidden = submit.hidden = isElsewhere;
  label.textContent = t(hasFactor ? "code" : "password");
  secret.type = hasFactor ? "text" : "password";
  secret.autocomplete = hasFactor ? "one-time-code" : "current-password";
}
