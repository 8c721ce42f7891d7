// A section of the account or of administration: a heading, what one request brings, and what
// can be done with it.

import { clearAlert, showAlert } from "./alert.js";
import { button, make } from "./dom.js";
import { t } from "./i18n.js";

let panels = 0;

export class Panel {
  #onProblem;
  #load = null;
  #forget = () => {};
  #retry;
  #query = new URLSearchParams();
  element;

  /** `title` is the key of its heading; `onProblem` shows what went wrong. */
  constructor(title, onProblem) {
    panels += 1;
    this.#onProblem = onProblem;
    const heading = make("h2", { i18n: title, id: `panel-${panels}`, tabindex: -1 });
    this.#retry = button("secondary", "retry", `retry-${title}`, () => this.open(this.#query));
    this.#retry.hidden = true;
    this.element = make("section.panel", { "aria-labelledby": heading.id }, heading, this.#retry);
  }

  add(...content) {
    this.element.append(...content);
    return this;
  }

  /** `load(query)` is called whenever the reader comes here. */
  onOpen(load) {
    this.#load = load;
    return this;
  }

  /** `forget(isOver)` is called when the reader goes elsewhere, or out, and then `isOver`. */
  onLeave(forget) {
    this.#forget = forget;
    return this;
  }

  /** `query` is what stands in the address behind the name of the page. */
  async open(query) {
    this.#query = query;
    this.#retry.hidden = true;
    if (!this.#load) return;
    this.element.setAttribute("aria-busy", "true");
    try {
      await this.#load(query);
    } catch (problem) {
      this.#retry.hidden = false;
      this.#onProblem(problem);
    } finally {
      this.element.removeAttribute("aria-busy");
    }
  }

  leave(isOver = false) {
    this.#retry.hidden = true;
    this.#forget(isOver);
  }

  /**
   * Does what the reader asked for and tells whether it was done. `known` has, by the code of a
   * problem, the key of what to say instead of the server's words; `pressed` rests meanwhile.
   */
  async act(work, { known = {}, pressed = null } = {}) {
    if (pressed?.disabled) return false;
    clearAlert();
    if (pressed) pressed.disabled = true;
    try {
      await work();
      return true;
    } catch (problem) {
      if (Object.hasOwn(known, problem.code)) showAlert(() => [t(known[problem.code])]);
      else this.#onProblem(problem);
      return false;
    } finally {
      if (pressed) {
        pressed.disabled = false;
        // A button that rests loses the focus.
        if (document.activeElement === document.body && pressed.isConnected) pressed.focus({ preventScroll: true });
      }
    }
  }
}
