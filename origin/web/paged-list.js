// A list of what the server has, a page at a time.

import { button, make } from "./dom.js";
import { onLanguageChange, t } from "./i18n.js";

/** The page of a list that comes whole. */
export function slices(load, size = 50) {
  let all = [];
  return async (after) => {
    if (after === null) all = await load();
    const from = after ?? 0;
    const to = from + size;
    return { entries: all.slice(from, to), next: to < all.length ? to : null };
  };
}

export class PagedList {
  #given;
  #list;
  #empty;
  #more;
  #entries = [];
  #next = null;
  #turn = 0;
  #loaded = false;
  element;

  /**
   * `load(after)` gives `{entries, next}`, of which `next` is null at the end; `item(entry)` makes
   * a list item; `empty` is the key of what is said when there is nothing.
   */
  constructor({ load, item, empty, test, onProblem }) {
    this.#given = { load, item, onProblem };
    this.#list = make("ul.rows", { role: "list", test });
    this.#empty = make("p.empty", { i18n: empty, hidden: true });
    this.#more = button("quiet", "more", `${test}-more`, () => this.#showMore());
    this.#more.classList.add("more");
    this.#more.hidden = true;
    this.element = make("div", {}, this.#empty, this.#list, this.#more);
    onLanguageChange(() => this.render());
  }

  get entries() {
    return this.#entries;
  }

  /** Asks anew, from the first page on. */
  async load() {
    const turn = this.#begin();
    const page = await this.#given.load(null);
    if (turn !== this.#turn) return;
    this.#entries = page.entries;
    this.#next = page.next;
    this.#loaded = true;
    this.render();
  }

  clear() {
    this.#begin();
    this.#entries = [];
    this.#next = null;
    this.#loaded = false;
    this.render();
  }

  /** Writes the items anew. */
  render() {
    this.#list.replaceChildren(...this.#entries.map(this.#given.item));
    this.#empty.textContent = t(this.#empty.dataset.i18n);
    this.#empty.hidden = !this.#loaded || this.#entries.length > 0;
    this.#more.hidden = this.#next === null;
  }

  // Whoever has asked for something else since does not want the answer any more.
  #begin() {
    this.#turn += 1;
    return this.#turn;
  }

  async #showMore() {
    const turn = this.#begin();
    const shown = this.#entries.length;
    this.#more.disabled = true;
    try {
      const page = await this.#given.load(this.#next);
      if (turn !== this.#turn) return;
      this.#entries = [...this.#entries, ...page.entries];
      this.#next = page.next;
      this.render();
      // The button may be gone; the reader goes on with the first new entry.
      this.#list.children[shown]?.focus({ preventScroll: true });
    } catch (problem) {
      this.#given.onProblem(problem);
    } finally {
      this.#more.disabled = false;
    }
  }
}
