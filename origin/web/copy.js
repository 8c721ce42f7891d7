// What is shown only once: a field that can be copied, and is forgotten.

import { announce } from "./alert.js";
import { button, field, make } from "./dom.js";
import { t } from "./i18n.js";

/** Selects what is in `control` and copies it; `said` is the key of what is said then. */
export async function copyFrom(control, said) {
  control.select();
  try {
    await navigator.clipboard.writeText(control.value);
    announce(t(said));
  } catch {
    // Not over TLS, or not allowed: it is selected, the keyboard copies it.
    control.focus();
  }
}

/** A secret with a button to copy it. `label` is a key; several `lines` make it a larger field. */
export class ShownOnce {
  #control;
  element;

  constructor(label, test, lines = 1) {
    const attributes = { readonly: true, test, spellcheck: "false", autocomplete: "off" };
    this.#control = lines > 1 ? make("textarea.code", { ...attributes, rows: lines }) : make("input.code", attributes);
    const copy = button("quiet", "copy", `copy-${test}`, () => copyFrom(this.#control, "copied"));
    const around = (control) => make("div.with-copy", {}, control, copy);
    this.element = make("div.once", { hidden: true }, field(label, this.#control, { around }));
  }

  show(value) {
    this.#control.value = value;
    this.element.hidden = false;
  }

  focus() {
    this.#control.focus();
    this.#control.select();
  }

  /** The next reader may be somebody else. */
  forget() {
    this.#control.value = "";
    this.element.hidden = true;
  }
}
