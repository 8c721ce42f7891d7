// One's own voices: made of a recording, heard, deleted.

import * as api from "./api.js";
import { announce, clearAlert } from "./alert.js";
import { duration } from "./format.js";
import { adviceSentence, language, onLanguageChange, t, translate } from "./i18n.js";
import { SubmitButton } from "./submit-button.js";

const byId = (id) => document.getElementById(id);
const form = byId("voice-form");
const list = byId("voices-list");
const template = byId("voice-template");
const record = byId("voice-record");
const file = byId("voice-sample");

// What the server takes at most; a recording ends by itself a little before.
const longestMs = 29_000;

let catalogue = { own: [], own_limit: 0, consents: [], cloning: true };
let handlers = { onChanged: async () => {}, onProblem: () => {} };
let recorder = null;
let recorded = null;
let consentKind = null;
let advice = [];

const submit = new SubmitButton(byId("voice-submit"), () => ({ idle: t("voice_make"), busy: t("voice_making") }));

/** `onChanged()` when voices have come or gone; `onProblem(problem)`. */
export function startVoices(given) {
  handlers = given;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    make();
  });
  record.addEventListener("click", toggleRecording);
  record.hidden = !navigator.mediaDevices || !window.MediaRecorder;
  file.addEventListener("change", () => {
    recorded = null;
    renderRecording();
  });
  onLanguageChange(render);
  render();
}

/** What GET /api/voices said. */
export function showVoices(given) {
  catalogue = given;
  render();
}

/** Forgets what belongs to the login that is over. */
export function clearVoices() {
  recorder?.stop();
  recorded = null;
  consentKind = null;
  advice = [];
  catalogue = { ...catalogue, own: [] };
  form.reset();
  submit.idle();
  byId("voice-new").open = false;
  render();
}

async function make() {
  const sample = recorded ?? file.files[0];
  const wanted = chosenConsent();
  if (!submit.ready) return;
  // The form says what is missing in the reader's language; only a recording is out of its sight.
  file.setCustomValidity(sample ? "" : t("voice_sample_missing"));
  if (!form.reportValidity()) return;
  const body = new FormData();
  body.append("name", byId("voice-name").value);
  body.append("transcript", byId("voice-transcript").value);
  body.append("consent", wanted.statement);
  body.append("sample", sample, "sample");
  clearAlert();
  advice = [];
  submit.busy();
  try {
    const made = await api.addVoice(body);
    submit.idle();
    form.reset();
    recorded = null;
    consentKind = null;
    advice = made.advice;
    announce(t("voice_made", { name: made.name }));
    await handlers.onChanged();
    render();
  } catch (problem) {
    submit.idle();
    handlers.onProblem(problem);
    if (problem.retryAfter > 0) submit.wait(problem.retryAfter, () => {});
  }
}

async function toggleRecording() {
  if (recorder) {
    recorder.stop();
    return;
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const pieces = [];
    recorder = new MediaRecorder(stream);
    const end = setTimeout(() => recorder?.stop(), longestMs);
    recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
    recorder.addEventListener("stop", () => {
      clearTimeout(end);
      for (const track of stream.getTracks()) track.stop();
      recorder = null;
      recorded = new Blob(pieces);
      file.value = "";
      file.setCustomValidity("");
      renderRecording();
    });
    recorder.start();
  } catch {
    recorder = null;
    announce(t("voice_no_microphone"));
    byId("voice-recorded").textContent = t("voice_no_microphone");
    return;
  }
  renderRecording();
}

async function remove(voice) {
  clearAlert();
  try {
    await api.deleteVoice(voice.id).catch((problem) => {
      // Gone already, perhaps from another window: that is what was asked for.
      if (problem.status !== 404) throw problem;
    });
    announce(t("voice_deleted", { name: voice.name }));
    await handlers.onChanged();
    byId("voices-title").focus();
  } catch (problem) {
    handlers.onProblem(problem);
  }
}

function chosenConsent() {
  return catalogue.consents.find((one) => one.kind === consentKind && one.language === language());
}

function render() {
  byId("voices-count").textContent = t("of_limit", { used: catalogue.own.length, limit: catalogue.own_limit });
  byId("voices-empty").hidden = catalogue.own.length > 0;
  byId("voices-useless").hidden = catalogue.cloning;
  byId("voice-new").hidden = catalogue.own.length >= catalogue.own_limit;
  list.replaceChildren(...catalogue.own.map(itemOf));
  byId("voice-advice").replaceChildren(
    ...advice.map((one) => {
      const line = document.createElement("li");
      line.textContent = adviceSentence(one);
      return line;
    }),
  );
  renderConsents();
  renderRecording();
}

function renderConsents() {
  const offered = catalogue.consents.filter((one) => one.language === language());
  byId("voice-consents").replaceChildren(
    ...offered.map((consent) => {
      const label = document.createElement("label");
      const radio = document.createElement("input");
      Object.assign(radio, { type: "radio", name: "consent", required: true, checked: consent.kind === consentKind });
      radio.dataset.test = `voice-consent-${consent.kind}`;
      radio.addEventListener("change", () => (consentKind = consent.kind));
      label.append(radio, consent.statement);
      return label;
    }),
  );
}

function renderRecording() {
  record.textContent = t(recorder ? "voice_stop" : "voice_record");
  byId("voice-recorded").textContent = recorder ? t("voice_recording") : recorded ? t("voice_recorded") : "";
}

function itemOf(voice) {
  const item = template.content.firstElementChild.cloneNode(true);
  translate(item);
  item.querySelector("[data-slot=name]").textContent = voice.name;
  item.querySelector("[data-slot=duration]").textContent = duration(voice.seconds);
  const audio = item.querySelector("audio");
  audio.src = voice.preview_url;
  audio.setAttribute("aria-label", t("play", { text: voice.name }));
  const erase = item.querySelector("[data-test=voice-delete]");
  erase.setAttribute("aria-label", t("voice_delete", { name: voice.name }));
  // The second press deletes: what is gone cannot be brought back.
  erase.addEventListener("click", () => {
    if (erase.dataset.asked) {
      remove(voice);
      return;
    }
    erase.dataset.asked = "yes";
    erase.querySelector("[data-i18n]").textContent = t("voice_delete_sure");
  });
  return item;
}
