// Elements made by script. Texts go in as texts, never as markup, so foreign ones do no harm.

import { fullMoment, moment } from "./format.js";
import { t } from "./i18n.js";

let fields = 0;

/**
 * `make("button.quiet", { type: "button", i18n: "close" }, …children)`: a tag with its classes,
 * attributes, and children that are elements or texts. `i18n`, `label` and `placeholder` are keys
 * of sentences, `test` names the element for tests, `on` has listeners.
 */
export function make(name, { i18n, label, placeholder, test, on = {}, ...attributes } = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(" ");
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(attribute, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(attribute, value);
  }
  if (i18n) {
    element.dataset.i18n = i18n;
    element.textContent = t(i18n);
  }
  if (label) {
    element.dataset.i18nLabel = label;
    element.setAttribute("aria-label", t(label));
  }
  if (placeholder) {
    element.dataset.i18nPlaceholder = placeholder;
    element.setAttribute("placeholder", t(placeholder));
  }
  if (test) element.dataset.test = test;
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const button = (kind, i18n, test, onClick) => make(`button.${kind}`, { type: "button", i18n, test, on: { click: onClick } });

/** A control with its label before it; a `hint` stands behind it, and `around` puts it into something. */
export function field(i18n, control, { hint = null, around = (inner) => inner } = {}) {
  fields += 1;
  control.id ||= `field-${fields}`;
  if (hint) {
    hint.id ||= `${control.id}-hint`;
    control.setAttribute("aria-describedby", hint.id);
  }
  const shown = control.tagName === "SELECT" ? make("div.select", {}, control, chevron()) : around(control);
  return make("div.field", {}, make("label", { i18n, for: control.id }), shown, hint);
}

/** A list to choose from; `options` are values, or `[value, key of its sentence]`. */
export function choice(test, options) {
  const select = make("select", { test });
  offer(select, options);
  return select;
}

export function offer(select, options) {
  const chosen = select.value;
  const made = options.map((option) =>
    Array.isArray(option) ? make("option", { value: option[0], i18n: option[1] }) : make("option", { value: option }, option),
  );
  select.replaceChildren(...made);
  if (made.some((option) => option.value === chosen)) select.value = chosen;
}

function chevron() {
  const space = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(space, "svg");
  icon.setAttribute("class", "icon");
  icon.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", "#icon-chevron");
  icon.append(use);
  return icon;
}

/** A moment of the server's; `key` is a sentence with `{when}` around it. */
export function timeOf(iso, key = null) {
  const date = new Date(iso);
  const when = moment(date);
  return make("time", { datetime: iso, title: fullMoment(date) }, key ? t(key, { when }) : when);
}

/** One entry of a list: a title, what else is known in small letters, and what can be done. */
export function row({ test, title, badge = null, meta = [], more = [], actions = [] }) {
  const known = meta.filter((part) => part !== null && part !== "");
  return make(
    "li",
    { test, tabindex: -1 },
    make(
      "div.row-body",
      {},
      make("p.row-title", { dir: "auto" }, title, badge && make("span.badge", {}, badge)),
      known.length > 0 ? make("p.meta", {}, ...known.map((part) => make("span", { dir: "auto" }, part))) : null,
      ...more,
    ),
    actions.length > 0 ? make("div.row-actions", {}, ...actions) : null,
  );
}

/** A dialog with a title; Escape closes it. */
export function makeDialog(title, test, ...content) {
  fields += 1;
  const heading = make("h2", { i18n: title, id: `dialog-${fields}` });
  const dialog = make("dialog", { "aria-labelledby": heading.id, test }, heading, ...content);
  document.body.append(dialog);
  return dialog;
}
