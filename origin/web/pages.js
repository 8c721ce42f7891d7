// A view of several pages with links between them, of which one is shown: the account, and
// administration.

import { make } from "./dom.js";
import { onLanguageChange, t, translate } from "./i18n.js";
import { addressOf, correct } from "./route.js";

export class Pages {
  #view;
  #pages = new Map();
  #links;
  #body;
  #title;
  #now = null;

  /** `pages` has, by name, the panels of each; the key of a page's name is `<view>_<page>`. */
  constructor(root, view, pages) {
    this.#view = view;
    this.#title = make("h1", { i18n: view, tabindex: -1 });
    this.#links = make("nav.pages", { label: view });
    this.#body = make("div.panels");
    for (const [name, panels] of Object.entries(pages)) {
      const link = make("a", { href: addressOf(view, name), i18n: `${view}_${name}`, test: `to-${name}` });
      this.#links.append(link);
      this.#pages.set(name, { link, panels });
    }
    root.append(this.#title, this.#links, this.#body);
    onLanguageChange(() => this.#renderTitle());
  }

  /** Shows a page, the first one if there is none of this name. */
  show(name, query) {
    const known = this.#pages.has(name);
    const page = known ? name : this.#pages.keys().next().value;
    if (!known) correct(addressOf(this.#view, page));
    if (this.#now !== page) {
      this.leave();
      this.#now = page;
      this.#body.replaceChildren(...this.#pages.get(page).panels.map((panel) => panel.element));
      // The language may have changed while they were out of the document.
      translate(this.#body);
      for (const [other, { link }] of this.#pages) {
        if (other === page) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
    }
    this.#renderTitle();
    for (const panel of this.#pages.get(page).panels) panel.open(query);
  }

  focus() {
    this.#title.focus({ preventScroll: true });
  }

  /** Forgets what was shown; where the login `isOver`, the next reader may be somebody else. */
  leave(isOver = false) {
    for (const [name, { panels }] of this.#pages) {
      if (isOver || name === this.#now) for (const panel of panels) panel.leave(isOver);
    }
    if (this.#now === null) return;
    this.#now = null;
    this.#body.replaceChildren();
  }

  #renderTitle() {
    if (this.#now !== null) document.title = `${t(`${this.#view}_${this.#now}`)} – cosygate`;
  }
}
