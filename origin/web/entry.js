// The door: log in or register, one card with two tabs; with the link of a reset, set a new
// password. Links carry their secret behind `#`, where no server and no log sees it.

import * as api from "./api.js";
import { clearAlert, showAlert, showProblem } from "./alert.js";
import { onLanguageChange, t } from "./i18n.js";
import { fits, refusalOf, strengthOf } from "./password-strength.js";
import { canUsePasskeys, proved } from "./passkeys.js";
import { SubmitButton } from "./submit-button.js";

const form = document.getElementById("login-form");
const panel = document.getElementById("entry-panel");
const tabs = { login: document.getElementById("login-tab"), register: document.getElementById("register-tab") };
const username = document.getElementById("username");
const password = document.getElementById("password");
const reveal = document.getElementById("password-reveal");
const submitElement = document.getElementById("login-submit");
const code = document.getElementById("login-code");
const codeField = document.getElementById("login-code-field");
const codeHint = document.getElementById("login-code-hint");
const tablist = document.getElementById("entry-tabs");
const usernameField = document.getElementById("username-field");
const passwordLabel = document.querySelector("label[for=password]");

// Of `#invitation=…` and `#reset=…`.
let invitation = null;
let resetToken = null;
// login, register or reset.
let mode = "login";
let mistakes = {};
// The password was right, and the account has a second factor.
let asksForCode = false;
let enter = () => {};

const submit = new SubmitButton(submitElement, () =>
  mode === "login"
    ? { idle: t("login"), busy: t("logging_in") }
    : mode === "reset"
      ? { idle: t("set_password"), busy: t("setting_password") }
      : { idle: t("register"), busy: t("registering") });

/** `onEnter` gets the account, once the login cookie is set. */
export function startEntry(onEnter) {
  enter = onEnter;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (submit.ready) attempt();
  });
  for (const [name, tab] of Object.entries(tabs)) {
    tab.addEventListener("click", () => choose(name));
    tab.addEventListener("keydown", moveBetweenTabs);
  }
  for (const input of [username, password]) {
    input.addEventListener("input", () => {
      askForCode(false);
      correct(input.name);
    });
  }
  reveal.addEventListener("click", () => setRevealed(password.type === "password"));
  onLanguageChange(render);
  // A link that is opened in a tab which has the page already.
  addEventListener("hashchange", () => {
    if (isLink()) location.reload();
  });
  readLink();
  render();
}

/** Whether a link asks for the card although somebody may be logged in. */
export const hasReset = () => resetToken !== null;

const linkOf = () => new URLSearchParams(location.hash.slice(1));
const isLink = () => linkOf().has("invitation") || linkOf().has("reset");

// The secret leaves the address bar at once: addresses are copied, bookmarked and kept.
function readLink() {
  const link = linkOf();
  if (!isLink()) return;
  invitation = link.get("invitation") ?? invitation;
  resetToken = link.get("reset");
  history.replaceState(null, "", location.pathname);
  choose(resetToken ? "reset" : "register");
}

/** Puts the focus where the reader goes on. */
export function focusEntry() {
  (username.value || mode === "reset" ? password : username).focus();
}

/** Empties the card: the next reader may be somebody else. */
export function clearEntry() {
  form.reset();
  askForCode(false);
  mistakes = {};
  render();
}

async function attempt() {
  if (!check()) return;
  const secret = password.value;
  clearAlert();
  submit.busy();
  try {
    if (mode === "reset") await reset(secret);
    const name = username.value.trim();
    if (mode === "register") await register(name, secret);
    // The code, or without one a passkey of the account.
    const account = await proved((proof) => api.login(name, secret, proof), api.codeOf(code.value));
    password.value = "";
    askForCode(false);
    setRevealed(false);
    choose("login");
    submit.idle();
    enter(account);
  } catch (problem) {
    refuse(problem);
  }
}

// From here on the account exists: if the login that follows fails, the card must not
// offer to create it again.
async function register(name, secret) {
  await api.register(name, secret, invitation);
  invitation = null;
  choose("login");
  showAlert(() => [t("registered")]);
}

// From here on the new password counts, whatever comes of the login that follows.
async function reset(secret) {
  const account = await api.resetPassword(resetToken, secret);
  resetToken = null;
  username.value = account.username;
  choose("login");
  showAlert(() => [t("password_set")]);
}

function refuse(problem) {
  submit.idle();
  // Only the server knows which passwords are common.
  const refusal = refusalOf(problem);
  if (refusal) {
    mistakes.password = refusal;
    render();
    password.select();
    return;
  }
  if (mode === "reset" && problem.code === "request_invalid" && problem.detail.startsWith("token")) {
    showAlert(() => [t("reset_gone")]);
    return;
  }
  if (problem.code === "step_up_required" || problem.code === "passkey") {
    if (problem.code === "passkey") showProblem(problem);
    else if (asksForCode) showAlert(() => [t("code_wrong")]);
    askForCode(true, problem.passkey);
    code.select();
    return;
  }
  const wrong = problem.status === 401;
  const takeBack = wrong ? showAlert(() => [t("login_wrong")]) : showProblem(problem);
  if (wrong) password.select();
  if (problem.retryAfter > 0) submit.wait(problem.retryAfter, takeBack);
}

// Lengths are only checked for a new account: what an old one has is the server's to know.
function check() {
  const nameLength = [...username.value.trim()].length;
  mistakes = {};
  // The link of a reset knows whose it is.
  if (mode !== "reset" && nameLength === 0) mistakes.username = "username_missing";
  else if (mode === "register" && (nameLength < 2 || nameLength > 64)) mistakes.username = "username_length";
  if (password.value === "") mistakes.password = "password_missing";
  else if (mode !== "login" && !fits(password.value)) mistakes.password = "password_length";
  render();
  if (mistakes.username) username.focus();
  else if (mistakes.password) password.focus();
  return !mistakes.username && !mistakes.password;
}

function askForCode(asks, passkey = null) {
  asksForCode = asks;
  codeField.hidden = !asks;
  codeHint.hidden = !passkey || !canUsePasskeys();
  if (!asks) code.value = "";
}

function correct(name) {
  delete mistakes[name];
  render();
}

function choose(name) {
  if (mode === name) return;
  mode = name;
  askForCode(false);
  mistakes = {};
  clearAlert();
  render();
  submit.render();
}

function moveBetweenTabs(event) {
  const next = { ArrowLeft: "login", Home: "login", ArrowRight: "register", End: "register" }[event.key];
  if (!next) return;
  event.preventDefault();
  choose(next);
  tabs[next].focus();
}

function setRevealed(revealed) {
  password.type = revealed ? "text" : "password";
  reveal.textContent = t(revealed ? "hide" : "show");
}

function render() {
  tablist.hidden = usernameField.hidden = mode === "reset";
  passwordLabel.dataset.i18n = mode === "reset" ? "new_password" : "password";
  passwordLabel.textContent = t(passwordLabel.dataset.i18n);
  for (const [name, tab] of Object.entries(tabs)) {
    tab.setAttribute("aria-selected", String(name === mode));
    tab.tabIndex = name === mode ? 0 : -1;
  }
  panel.setAttribute("aria-labelledby", tabs[mode]?.id ?? passwordLabel.id);
  password.autocomplete = mode === "login" ? "current-password" : "new-password";
  submitElement.dataset.test = `${mode}-submit`;
  reveal.textContent = t(password.type === "password" ? "show" : "hide");
  for (const input of [username, password]) {
    const mistake = mistakes[input.name];
    const hint = document.getElementById(`${input.id}-hint`);
    input.setAttribute("aria-invalid", String(Boolean(mistake)));
    hint.classList.toggle("wrong", Boolean(mistake));
    if (mistake) hint.textContent = t(mistake);
    else if (mode === "login") hint.textContent = "";
    else hint.textContent = input === password ? strengthOf(password.value) : t("username_hint");
  }
}
