// Asks once more before something is done that cannot be taken back.

import { button, make, makeDialog } from "./dom.js";
import { t } from "./i18n.js";

let answer = () => {};

const text = make("p", { dir: "auto" });
const cancel = button("secondary", "cancel", "cancel-ask", () => dialog.close());
const confirm = make("button.danger", { type: "button", test: "confirm-ask", on: { click: () => dialog.close("yes") } });
const dialog = makeDialog("sure", "ask-dialog", text, make("div.dialog-buttons", {}, cancel, confirm));
text.id = "ask-text";
dialog.setAttribute("aria-describedby", text.id);
dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"));

/** Whether the reader means it; `question` says what will happen, `action` is the key of the button. */
export function ask(question, action) {
  text.textContent = question;
  confirm.textContent = t(action);
  dialog.returnValue = "";
  dialog.showModal();
  cancel.focus();
  return new Promise((resolve) => {
    answer = resolve;
  });
}
