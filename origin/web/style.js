// How the voice speaks: a style of the engine's, or the reader's own words.

import { language, onLanguageChange, t } from "./i18n.js";

const byId = (id) => document.getElementById(id);
const field = byId("style-field");
const select = byId("style");
const words = byId("style-words");

// No style has this id.
const ownWords = "…";

let can = false;
let styles = [];

export function startStyle() {
  select.addEventListener("change", () => {
    renderWords();
    if (!words.hidden) words.focus();
  });
  onLanguageChange(render);
  render();
}

/** What GET /api/voices said. */
export function setStyles(given) {
  can = given.abilities?.instruct === true;
  styles = given.instructs ?? [];
  render();
}

/** What to tell the engine; empty for its natural way. */
export function chosen() {
  if (!can) return "";
  return select.value === ownWords ? words.value.trim() : select.value;
}

export function render() {
  field.hidden = !can;
  const before = select.value;
  select.replaceChildren(new Option(t("style_natural"), ""));
  for (const kind of [...new Set(styles.map((one) => one.kind))]) {
    const group = document.createElement("optgroup");
    group.label = t(`style_${kind}`);
    const named = styles.filter((one) => one.kind === kind);
    group.append(...named.map((one) => new Option(one.name[language()] ?? one.name.en, one.id)));
    select.append(group);
  }
  select.append(new Option(t("style_words"), ownWords));
  if ([...select.options].some((option) => option.value === before)) select.value = before;
  renderWords();
}

function renderWords() {
  words.hidden = select.value !== ownWords;
}
