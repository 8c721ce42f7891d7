// The one place where the page speaks up: an alert for what went wrong, a quiet status
// for what went well (read aloud by screen readers, shown elsewhere on the page).

import { onLanguageChange, serverSentence, t } from "./i18n.js";

const box = document.getElementById("alert-box");
const text = document.getElementById("alert-text");
const quietStatus = document.getElementById("status");
let current = null;

/**
 * Shows the lines made by `makeLines`, which is called again when the language changes.
 * Returns a function that takes this alert back, unless another one has replaced it.
 */
export function showAlert(makeLines) {
  current = makeLines;
  render();
  return () => {
    if (current === makeLines) clearAlert();
  };
}

/** Says in plain words what `problem` is; returns what `showAlert` returns. */
export function showProblem(problem) {
  return showAlert(() => explain(problem));
}

export function clearAlert() {
  current = null;
  render();
}

/** Has a screen reader say `sentence` when it comes to it. */
export function announce(sentence) {
  quietStatus.textContent = sentence;
}

function explain(problem) {
  const { status, code, detail, requestId } = problem;
  if (status === 0) return [t(`problem_${code}`)];
  const ours = serverSentence("code", code);
  const general = t(status >= 500 ? "problem_server" : "problem_refused", { status });
  const lines = [ours ?? (detail || general)];
  // Only the server knows what of the request it did not like.
  if (ours && detail && ["request_invalid", "conflict"].includes(code)) lines.push(detail);
  if (status >= 500 && requestId) lines.push(t("problem_request_id", { id: requestId }));
  return lines;
}

function render() {
  const lines = current ? current() : [];
  text.replaceChildren(
    ...lines.map((line) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = line;
      return paragraph;
    }),
  );
  box.classList.toggle("shown", lines.length > 0);
}

document.getElementById("alert-dismiss").addEventListener("click", () => {
  clearAlert();
  document.getElementById("main").focus({ preventScroll: true });
});
onLanguageChange(render);
