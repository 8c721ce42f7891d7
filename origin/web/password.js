// Another password for one's own account.

import * as api from "./api.js";
import { clearAlert } from "./alert.js";
import { field, make } from "./dom.js";
import { onLanguageChange, t } from "./i18n.js";
import { Panel } from "./panel.js";
import { fits, refusalOf, strengthOf } from "./password-strength.js";
import { SubmitButton } from "./submit-button.js";

/**
 * `onChanged(password)` is called when it is set: every login is over then, this one too. It tells
 * whether the reader is inside all the same.
 */
export function makePasswordPanel({ onProblem, onChanged }) {
  const hint = (live) => make("p.hint", live ? { role: "status" } : { role: "alert" });
  const input = (test, autocomplete, name) => make("input", { type: "password", name, test, autocomplete, required: true });
  const current = { input: input("current-password", "current-password", "current"), hint: hint(false), mistake: null };
  const next = { input: input("new-password", "new-password", "new"), hint: hint(true), mistake: null };
  const reveal = make("button.quiet", { type: "button", i18n: "show", test: "reveal-new-password", on: { click: toggle } });
  const done = make("p.hint", { role: "status", test: "password-done" });
  const submitElement = make("button.primary", { type: "submit", test: "change-password" });
  const form = make(
    "form.card",
    { novalidate: true, test: "password-form", on: { submit } },
    field("password_current", current.input, { hint: current.hint }),
    field("new_password", next.input, { hint: next.hint, around: (control) => make("div.with-button", {}, control, reveal) }),
    make("div.beside", {}, submitElement, done),
  );
  const button = new SubmitButton(submitElement, () => ({ idle: t("password_change"), busy: t("setting_password") }));

  let isDone = false;
  for (const part of [current, next]) {
    part.input.addEventListener("input", () => {
      part.mistake = null;
      isDone = false;
      render();
    });
  }
  onLanguageChange(render);
  render();

  async function submit(event) {
    event.preventDefault();
    if (!button.ready || !check()) return;
    const password = next.input.value;
    clearAlert();
    button.busy();
    try {
      await api.changePassword(current.input.value, password);
      const isInside = await onChanged(password);
      clear();
      isDone = isInside;
      render();
    } catch (problem) {
      button.idle();
      refuse(problem);
    }
  }

  function check() {
    current.mistake = current.input.value === "" ? "password_missing" : null;
    next.mistake = fits(next.input.value) ? null : "password_length";
    render();
    if (current.mistake) current.input.focus();
    else if (next.mistake) next.input.focus();
    return !current.mistake && !next.mistake;
  }

  function refuse(problem) {
    const wrong = refusalOf(problem);
    if (problem.code === "request_invalid" && problem.detail.startsWith("current password")) {
      current.mistake = "password_wrong";
      render();
      current.input.select();
    } else if (wrong) {
      next.mistake = wrong;
      render();
      next.input.select();
    } else {
      const takeBack = onProblem(problem);
      if (problem.retryAfter > 0) button.wait(problem.retryAfter, takeBack);
    }
  }

  function toggle() {
    next.input.type = next.input.type === "password" ? "text" : "password";
    render();
  }

  function clear() {
    form.reset();
    next.input.type = "password";
    current.mistake = next.mistake = null;
    isDone = false;
    button.idle();
    render();
  }

  function render() {
    done.textContent = isDone ? t("password_changed") : "";
    reveal.textContent = t(next.input.type === "password" ? "show" : "hide");
    for (const part of [current, next]) {
      part.input.setAttribute("aria-invalid", String(part.mistake !== null));
      part.hint.classList.toggle("wrong", part.mistake !== null);
      const sentence = part.mistake ? t(part.mistake) : part === next ? strengthOf(next.input.value) : "";
      // A live region: it is only written to when the sentence changes.
      if (part.hint.textContent !== sentence) part.hint.textContent = sentence;
    }
  }

  return new Panel("password_title", onProblem).add(make("p.hint", { i18n: "password_text" }), form).onLeave(clear);
}
