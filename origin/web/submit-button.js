// A submit button that is idle, busy (with the seconds gone by) or waiting (with a
// countdown, after the server said Retry-After).

import { announce } from "./alert.js";
import { countdown } from "./format.js";
import { onLanguageChange, t } from "./i18n.js";

export class SubmitButton {
  #button;
  #labels;
  #state = "idle";
  #since = 0;
  #until = 0;
  #timer = 0;
  #onReady = () => {};
  #hadFocus = false;

  /** `labels()` gives the words `{idle, busy}` in the current language. */
  constructor(button, labels) {
    this.#button = button;
    this.#labels = labels;
    onLanguageChange(() => this.render());
    this.render();
  }

  get ready() {
    return this.#state === "idle";
  }

  busy() {
    this.#since = Date.now();
    this.#enter("busy");
  }

  idle() {
    this.#enter("idle");
  }

  /** Stays off for `seconds`, then says so and calls `onReady`. */
  wait(seconds, onReady) {
    this.#onReady = onReady;
    this.#until = Date.now() + seconds * 1000;
    this.#enter("waiting");
  }

  render() {
    const labels = this.#labels();
    if (this.#state === "waiting") {
      const left = Math.ceil((this.#until - Date.now()) / 1000);
      this.#button.textContent = t("wait", { time: countdown(Math.max(left, 0)) });
    } else if (this.#state === "busy") {
      const gone = Math.floor((Date.now() - this.#since) / 1000);
      this.#button.textContent = gone < 2 ? labels.busy : `${labels.busy} ${countdown(gone)}`;
    } else {
      this.#button.textContent = labels.idle;
    }
  }

  #enter(state) {
    this.#hadFocus ||= document.activeElement === this.#button;
    this.#state = state;
    this.#button.disabled = state !== "idle";
    this.#button.dataset.state = state;
    clearInterval(this.#timer);
    if (state === "idle") this.#giveFocusBack();
    else this.#timer = setInterval(() => this.#tick(), 250);
    this.render();
  }

  #tick() {
    if (this.#state === "waiting" && Date.now() >= this.#until) {
      this.idle();
      this.#onReady();
      announce(t("ready_again"));
    } else {
      this.render();
    }
  }

  // A button loses the focus when it is switched off; whoever pressed it gets it back,
  // unless they have moved on.
  #giveFocusBack() {
    if (this.#hadFocus && document.activeElement === document.body) {
      this.#button.focus({ preventScroll: true });
    }
    this.#hadFocus = false;
  }
}
