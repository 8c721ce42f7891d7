// The desk: text, voice and speed in, speech out.

import * as api from "./api.js";
import { announce, clearAlert } from "./alert.js";
import { duration, factor, languageName, number } from "./format.js";
import { make } from "./job.js";
import { onLanguageChange, serverSentence, t } from "./i18n.js";
import * as player from "./player.js";
import * as style from "./style.js";
import { SubmitButton } from "./submit-button.js";

const byId = (id) => document.getElementById(id);
const form = byId("compose-form");
const text = byId("text");
const voice = byId("voice");
const speed = byId("speed");
const audio = byId("result-audio");

const shortcut = /mac/i.test(navigator.platform) ? "⌘ Enter" : "Ctrl + Enter";

let limit = null;
let catalogue = { engine: "", notice: null, voices: [], own: [], cloning: false };
let made = null;
// The generation under way, as the server last told of it.
let job = null;
let following = new AbortController();
// The text is only found wanting once somebody has tried to have it spoken.
let missing = false;
// Set while the day's allowance is too small for the text; a shorter one may still fit.
let takeBackQuota = null;
let handlers = { onMade: () => {}, onProblem: () => {} };

const submit = new SubmitButton(byId("generate"), () => ({ idle: t("generate"), busy: t("generating") }));

/** `onMade` gets the new history entry; `onProblem` shows a problem and returns how to take it back. */
export function startCompose(given) {
  handlers = given;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    generate();
  });
  form.addEventListener("keydown", (event) => {
    // While an input method is composing, Enter belongs to it.
    if (event.key !== "Enter" || event.isComposing || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    generate();
  });
  byId("cancel").addEventListener("click", cancel);
  text.addEventListener("input", textChanged);
  speed.addEventListener("input", renderSpeed);
  voice.addEventListener("change", renderVoiceDescription);
  style.startStyle();
  onLanguageChange(render);
  render();
}

/** The most characters one request may have, or null while unknown. */
export function setLimit(characters) {
  limit = characters;
  renderText();
}

/** What GET /api/voices said. */
export function setVoices(given) {
  catalogue = given;
  style.setStyles(given);
  byId("speed-field").hidden = given.abilities?.speed === false;
  renderVoices();
}

const everyVoice = () => [...catalogue.voices, ...catalogue.own];
const usableVoices = () => (catalogue.cloning ? everyVoice() : catalogue.voices);

/** The name of a voice for the reader; of one that is gone, its id. */
export function voiceName(id) {
  return everyVoice().find((one) => one.id === id)?.name ?? id;
}

/** Fills the form with an earlier text. */
export function useAgain(entry) {
  text.value = entry.text;
  if (usableVoices().some((one) => one.id === entry.voice)) voice.value = entry.voice;
  textChanged();
  text.focus();
  form.scrollIntoView({ block: "nearest" });
}

export function focusText() {
  text.focus({ preventScroll: true });
}

/** Takes the result away when it is the recording `id`. */
export function forget(id) {
  if (made?.id === id) setMade(null);
}

/** Silences and hides what belongs to the login that is over, but keeps the typed text. */
export function rest() {
  following.abort();
  following = new AbortController();
  setJob(null);
  setMade(null);
  submit.idle();
  takeBackQuota = null;
}

/** Forgets the text as well: the next reader is somebody else. */
export function clear() {
  rest();
  form.reset();
  style.render();
  missing = false;
  render();
}

function textChanged() {
  missing = false;
  if (takeBackQuota) {
    submit.idle();
    takeBackQuota();
    takeBackQuota = null;
  }
  renderText();
}

async function generate() {
  if (!submit.ready || !check()) return;
  takeBackQuota = null;
  const speech = { text: text.value.trim(), speed: byId("speed-field").hidden ? 1 : Number(speed.value) };
  // Without a list of voices the server takes its first.
  if (voice.value) speech.voice = voice.value;
  if (style.chosen()) speech.instruct = style.chosen();
  clearAlert();
  announce(t("generating"));
  submit.busy();
  try {
    const answer = await make(speech, setJob, following.signal);
    submit.idle();
    setJob(null);
    announce(answer === null ? t("cancelled") : "");
    if (answer === null) return;
    handlers.onMade(answer);
    await present(answer);
  } catch (problem) {
    submit.idle();
    setJob(null);
    announce("");
    const takeBack = handlers.onProblem(problem);
    if (problem.retryAfter === 0) return;
    submit.wait(problem.retryAfter, takeBack);
    takeBackQuota = problem.code === "quota_exhausted" ? takeBack : null;
  }
}

async function cancel() {
  if (job === null) return;
  byId("cancel").disabled = true;
  try {
    await api.cancelJob(job.id);
  } catch (problem) {
    // Who was too late gets what was made.
    if (problem.code !== "conflict") handlers.onProblem(problem);
    byId("cancel").disabled = false;
  }
}

function setJob(now) {
  if (job?.id !== now?.id) byId("cancel").disabled = false;
  job = now;
  renderJob();
}

async function present(answer) {
  setMade(answer);
  player.load(audio, answer.id, (problem) => handlers.onProblem(problem));
  const allowed = await player.play(audio);
  announce(t(allowed ? "result_ready" : "audio_blocked", { duration: duration(answer.seconds) }));
}

function setMade(answer) {
  if (made) player.unload(audio);
  made = answer;
  renderResult();
}

// The server counts Unicode scalar values of the trimmed text, and so does the page.
const charactersOf = (value) => [...value.trim()].length;
const excess = () => (limit === null ? 0 : Math.max(charactersOf(text.value) - limit, 0));

function check() {
  missing = charactersOf(text.value) === 0;
  renderText();
  const good = !missing && excess() === 0;
  if (!good) text.focus();
  return good;
}

function render() {
  byId("shortcut").textContent = t("shortcut", { keys: shortcut });
  renderText();
  renderSpeed();
  renderVoices();
  renderJob();
  renderResult();
}

function renderText() {
  const used = charactersOf(text.value);
  const over = excess();
  const count = byId("text-count");
  const values = { used: number(used), limit: limit === null ? "–" : number(limit) };
  count.textContent = t("count", values);
  count.setAttribute("aria-label", t("count_label", values));
  count.classList.toggle("wrong", over > 0);
  text.setAttribute("aria-invalid", String(missing || over > 0));
  // A live region: it is only written to when the sentence changes.
  const sentence = over > 0 ? t("text_too_long", { excess: number(over) }) : missing ? t("text_missing") : "";
  const hint = byId("text-hint");
  if (hint.textContent !== sentence) hint.textContent = sentence;
}

function renderSpeed() {
  const shown = factor(Number(speed.value));
  byId("speed-value").textContent = shown;
  speed.setAttribute("aria-valuetext", shown);
}

function renderVoices() {
  const chosen = voice.value;
  const options = (voices) => voices.map((one) => new Option(one.name, one.id));
  voice.replaceChildren(...options(catalogue.voices));
  if (catalogue.cloning && catalogue.own.length > 0) {
    const group = document.createElement("optgroup");
    group.label = t("my_voices");
    group.append(...options(catalogue.own));
    voice.append(group);
  }
  if (usableVoices().some((one) => one.id === chosen)) voice.value = chosen;
  const notice = catalogue.notice && (serverSentence("notice", catalogue.engine) ?? catalogue.notice);
  byId("voice-notice").textContent = notice ?? "";
  byId("voice-notice").hidden = !notice;
  renderVoiceDescription();
}

function renderVoiceDescription() {
  const chosen = everyVoice().find((one) => one.id === voice.value);
  const languages = chosen?.languages?.map(languageName).join(" / ");
  byId("voice-description").textContent = [languages, chosen?.description].filter(Boolean).join(" · ");
}

function renderJob() {
  byId("job").hidden = job === null;
  if (job === null) return;
  const { position, sentences } = job;
  let sentence = t("job_running");
  if (position) sentence = t("job_queued", { position: number(position) });
  else if (sentences.total > 1) sentence = t("job_progress", { done: number(sentences.done), total: number(sentences.total) });
  const state = byId("job-state");
  // A live region: it is only written to when the sentence changes.
  if (state.textContent !== sentence) state.textContent = sentence;
}

function renderResult() {
  byId("result").hidden = made === null;
  if (made === null) return;
  byId("result-meta").textContent = `${voiceName(made.voice)} · ${duration(made.seconds)}`;
  byId("result-download").href = api.downloadPath(made.id);
}
