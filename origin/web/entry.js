// The door: log in or register, one card with two tabs.

import * as api from "./api.js";
import { clearAlert, showAlert, showProblem } from "./alert.js";
import { onLanguageChange, t } from "./i18n.js";
import { SubmitButton } from "./submit-button.js";

const form = document.getElementById("login-form");
const panel = document.getElementById("entry-panel");
const tabs = { login: document.getElementById("login-tab"), register: document.getElementById("register-tab") };
const username = document.getElementById("username");
const password = document.getElementById("password");
const reveal = document.getElementById("password-reveal");
const submitElement = document.getElementById("login-submit");

let mode = "login";
let mistakes = {};
let enter = () => {};

const submit = new SubmitButton(submitElement, () =>
  mode === "login"
    ? { idle: t("login"), busy: t("logging_in") }
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
    input.addEventListener("input", () => correct(input.name));
  }
  reveal.addEventListener("click", () => setRevealed(password.type === "password"));
  onLanguageChange(render);
  render();
}

/** Puts the focus where the reader goes on. */
export function focusEntry() {
  (username.value ? password : username).focus();
}

/** Empties the card: the next reader may be somebody else. */
export function clearEntry() {
  form.reset();
  mistakes = {};
  render();
}

async function attempt() {
  if (!check()) return;
  const name = username.value.trim();
  const secret = password.value;
  clearAlert();
  submit.busy();
  try {
    if (mode === "register") await register(name, secret);
    const account = await api.login(name, secret);
    password.value = "";
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
  await api.register(name, secret);
  choose("login");
  showAlert(() => [t("registered")]);
}

function refuse(problem) {
  submit.idle();
  const wrong = problem.status === 401;
  const takeBack = wrong ? showAlert(() => [t("login_wrong")]) : showProblem(problem);
  if (wrong) password.select();
  if (problem.retryAfter > 0) submit.wait(problem.retryAfter, takeBack);
}

// Lengths are only checked for a new account: what an old one has is the server's to know.
function check() {
  const nameLength = [...username.value.trim()].length;
  const secretLength = [...password.value].length;
  mistakes = {};
  if (nameLength === 0) mistakes.username = "username_missing";
  else if (mode === "register" && (nameLength < 3 || nameLength > 64)) mistakes.username = "username_length";
  if (secretLength === 0) mistakes.password = "password_missing";
  else if (mode === "register" && (secretLength < 8 || secretLength > 256)) mistakes.password = "password_length";
  render();
  if (mistakes.username) username.focus();
  else if (mistakes.password) password.focus();
  return !mistakes.username && !mistakes.password;
}

function correct(name) {
  delete mistakes[name];
  render();
}

function choose(name) {
  if (mode === name) return;
  mode = name;
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
  for (const [name, tab] of Object.entries(tabs)) {
    tab.setAttribute("aria-selected", String(name === mode));
    tab.tabIndex = name === mode ? 0 : -1;
  }
  panel.setAttribute("aria-labelledby", tabs[mode].id);
  password.autocomplete = mode === "login" ? "current-password" : "new-password";
  submitElement.dataset.test = `${mode}-submit`;
  reveal.textContent = t(password.type === "password" ? "show" : "hide");
  for (const input of [username, password]) {
    const mistake = mistakes[input.name];
    const hint = document.getElementById(`${input.id}-hint`);
    input.setAttribute("aria-invalid", String(Boolean(mistake)));
    hint.classList.toggle("wrong", Boolean(mistake));
    if (mistake) hint.textContent = t(mistake);
    else hint.textContent = mode === "register" ? t(`${input.name}_hint`) : "";
  }
}
