// One's own recordings, newest first: play, download, use again, delete. What is ticked of them is
// in selection.js.

import * as api from "./api.js";
import { announce, clearAlert } from "./alert.js";
import { duration, fullMoment, moment } from "./format.js";
import { onLanguageChange, t, translate } from "./i18n.js";
import * as player from "./player.js";
import { clearSelection, isSelected, renderSelection, select, startSelection } from "./selection.js";

const list = document.getElementById("history-list");
const title = document.getElementById("history-title");
const empty = document.getElementById("history-empty");
const more = document.getElementById("history-more");
const template = document.getElementById("history-template");
const dialog = document.getElementById("delete-dialog");
const confirmDelete = document.getElementById("delete-confirm");

const search = document.getElementById("history-search");

const labelCharacters = 60;
// How long somebody pauses who has finished typing.
const pauseMs = 300;

let query = "";
let typing = 0;
let next = null;
let loaded = false;
let doomed = null;
let handlers = {};
// Entries by their list item, so that texts can be written anew in another language.
const entries = new Map();
// A text is cut off or not depending on the width of the page.
const clamped = new ResizeObserver((changes) => {
  for (const { target } of changes) renderExpand(target.closest("li"));
});

/** `voiceName(id)`, `onUseAgain(entry)`, `onShare(entry)`, `onDeleted(id)` and `onProblem(problem)`. */
export function startHistory(given) {
  handlers = given;
  more.addEventListener("click", showMore);
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(find, pauseMs);
  });
  document.getElementById("delete-cancel").addEventListener("click", () => dialog.close());
  confirmDelete.addEventListener("click", removeDoomed);
  startSelection({ shownIds, onChanged: renderHistory, onProblem: handlers.onProblem });
  onLanguageChange(renderHistory);
}

/** Shows the newest page; when it cannot be had now, the button below asks for it again. */
export async function loadHistory() {
  try {
    const asked = query;
    const page = await api.outputs(null, asked);
    // Whoever typed on has asked for something else since.
    if (asked === query) append(page);
  } catch (problem) {
    more.hidden = false;
    throw problem;
  }
}

export function clearHistory() {
  if (dialog.open) dialog.close();
  clearTimeout(typing);
  search.value = "";
  query = "";
  emptyList();
  clearSelection();
}

function emptyList() {
  for (const item of entries.keys()) discard(item);
  next = null;
  loaded = false;
  more.hidden = true;
  empty.hidden = true;
}

async function find() {
  if (search.value.trim() === query) return;
  query = search.value.trim();
  emptyList();
  try {
    await loadHistory();
  } catch (problem) {
    handlers.onProblem(problem);
  }
}

/** Puts a new entry on top. */
export function addToHistory(entry) {
  list.prepend(itemOf(entry));
  renderHistory();
}

/** Writes every text that depends on the language or on the names of the voices. */
export function renderHistory() {
  for (const item of entries.keys()) renderItem(item);
  renderSelection();
  empty.textContent = t(query ? "history_none" : "history_empty");
  empty.hidden = !loaded || entries.size > 0;
}

const shownIds = () => [...entries.values()].map((entry) => entry.id);

async function showMore() {
  more.disabled = true;
  try {
    const asked = query;
    const page = await api.outputs(next, asked);
    if (asked !== query) return;
    const first = append(page);
    // The button may be gone; the reader goes on with the first new entry.
    first?.querySelector("[data-test=play]").focus({ preventScroll: true });
  } catch (problem) {
    handlers.onProblem(problem);
  } finally {
    more.disabled = false;
  }
}

function append(page) {
  const known = new Set(shownIds());
  const items = page.outputs.filter((entry) => !known.has(entry.id)).map(itemOf);
  list.append(...items);
  next = page.next;
  loaded = true;
  more.hidden = next === null;
  renderHistory();
  return items[0];
}

function itemOf(entry) {
  const item = template.content.firstElementChild.cloneNode(true);
  entries.set(item, entry);
  translate(item);
  const part = (name) => item.querySelector(`[data-test=${name}]`);
  const spoken = item.querySelector(".spoken");
  const audio = item.querySelector("audio");
  spoken.textContent = entry.text;
  part("download").href = api.downloadPath(entry.id);
  part("play").addEventListener("click", () => togglePlay(item));
  part("select").addEventListener("change", (event) => select(entry.id, event.target.checked));
  part("use-again").addEventListener("click", () => handlers.onUseAgain(entry));
  part("share").addEventListener("click", () => handlers.onShare(entry));
  part("delete").addEventListener("click", () => askToDelete(item));
  item.querySelector("[data-action=expand]").addEventListener("click", () => {
    spoken.classList.toggle("whole");
    renderExpand(item);
  });
  for (const event of ["play", "pause", "emptied"]) {
    audio.addEventListener(event, () => renderPlay(item));
  }
  clamped.observe(spoken);
  return item;
}

function discard(item) {
  player.unload(item.querySelector("audio"));
  clamped.unobserve(item.querySelector(".spoken"));
  entries.delete(item);
  item.remove();
}

function togglePlay(item) {
  const audio = item.querySelector("audio");
  if (!audio.paused) {
    audio.pause();
    return;
  }
  if (audio.hidden) {
    audio.hidden = false;
    player.load(audio, entries.get(item).id, (problem) => handlers.onProblem(problem));
  }
  clearAlert();
  player.play(audio);
}

function askToDelete(item) {
  doomed = item;
  document.getElementById("delete-text").textContent = entries.get(item).text;
  dialog.showModal();
}

async function removeDoomed() {
  const item = doomed;
  const { id } = entries.get(item);
  confirmDelete.disabled = true;
  try {
    await api.deleteOutput(id).catch((problem) => {
      // Gone already, perhaps from another window: that is what was asked for.
      if (problem.status !== 404) throw problem;
    });
    const neighbour = item.nextElementSibling ?? item.previousElementSibling;
    dialog.close();
    discard(item);
    select(id, false);
    renderHistory();
    (neighbour?.querySelector("[data-test=delete]") ?? title).focus();
    announce(t("deleted"));
    handlers.onDeleted(id);
  } catch (problem) {
    dialog.close();
    handlers.onProblem(problem);
  } finally {
    confirmDelete.disabled = false;
  }
}

function renderItem(item) {
  const entry = entries.get(item);
  const box = item.querySelector("[data-test=select]");
  const created = new Date(entry.created_at);
  const time = item.querySelector("time");
  translate(item);
  item.querySelector("[data-slot=voice]").textContent = handlers.voiceName(entry.voice);
  item.querySelector("[data-slot=duration]").textContent = duration(entry.seconds);
  time.textContent = moment(created);
  time.title = fullMoment(created);
  time.dateTime = entry.created_at;
  box.checked = isSelected(entry.id);
  box.setAttribute("aria-label", t("select", { text: labelOf(entry) }));
  renderPlay(item);
  renderExpand(item);
}

function labelOf({ text }) {
  const letters = [...text];
  return letters.length > labelCharacters ? `${letters.slice(0, labelCharacters).join("")}…` : text;
}

function renderPlay(item) {
  const entry = entries.get(item);
  if (!entry) return;
  const playing = !item.querySelector("audio").paused;
  item.classList.toggle("playing", playing);
  item.querySelector("[data-test=play]").setAttribute("aria-label", t(playing ? "pause" : "play", { text: labelOf(entry) }));
}

function renderExpand(item) {
  const spoken = item.querySelector(".spoken");
  const expand = item.querySelector("[data-action=expand]");
  const whole = spoken.classList.contains("whole");
  expand.hidden = !whole && spoken.scrollHeight <= spoken.clientHeight + 1;
  expand.textContent = t(whole ? "collapse" : "expand");
  expand.setAttribute("aria-expanded", String(whole));
}
