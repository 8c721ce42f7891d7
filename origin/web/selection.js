// Recordings of the history that are ticked, and taken along as one archive.

import * as api from "./api.js";
import { announce, clearAlert, showAlert } from "./alert.js";
import { t } from "./i18n.js";
import { save } from "./save.js";
import { SubmitButton } from "./submit-button.js";

const byId = (id) => document.getElementById(id);
const bar = byId("selection");
const all = byId("select-all");
const count = byId("selection-count");
const none = byId("select-none");
const download = byId("selection-download");

// As many go into one archive.
const most = 100;

// Ids. What is ticked stays so while it is not shown.
const chosen = new Set();
let handlers = {};
let button = null;

/** `shownIds()`, `onChanged()` after a change that came from here, and `onProblem(problem)`. */
export function startSelection(given) {
  handlers = given;
  button = new SubmitButton(download, () => ({ idle: t("selection_download"), busy: t("selection_packing") }));
  all.addEventListener("change", () => {
    for (const id of handlers.shownIds()) mark(id, all.checked);
    handlers.onChanged();
  });
  none.addEventListener("click", () => {
    chosen.clear();
    handlers.onChanged();
    all.focus();
  });
  download.addEventListener("click", fetchArchive);
}

export const isSelected = (id) => chosen.has(id);

export function select(id, isOn) {
  mark(id, isOn);
  renderSelection();
}

export function clearSelection() {
  chosen.clear();
  renderSelection();
}

export function renderSelection() {
  const shown = handlers.shownIds();
  const marked = shown.filter(isSelected).length;
  const excess = chosen.size - most;
  bar.hidden = shown.length === 0 && chosen.size === 0;
  all.disabled = shown.length === 0;
  all.checked = marked > 0 && marked === shown.length;
  all.indeterminate = marked > 0 && marked < shown.length;
  none.hidden = chosen.size === 0;
  count.textContent = t(excess > 0 ? "selection_too_many" : "selection_count", { count: chosen.size, most, excess });
  count.classList.toggle("wrong", excess > 0);
  if (button.ready) download.disabled = chosen.size === 0 || excess > 0;
}

function mark(id, isOn) {
  if (isOn) chosen.add(id);
  else chosen.delete(id);
}

async function fetchArchive() {
  clearAlert();
  button.busy();
  try {
    const { blob, name } = await api.archive([...chosen]);
    save(blob, name);
    announce(t("selection_saved"));
  } catch (problem) {
    if (problem.status === 404) showAlert(() => [t("selection_gone")]);
    else handlers.onProblem(problem);
  } finally {
    button.idle();
    renderSelection();
  }
}
