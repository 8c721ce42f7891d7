// Links to recordings for people without an account: making, copying, ending.

import * as api from "./api.js";
import { announce } from "./alert.js";
import { copyFrom } from "./copy.js";
import { fullMoment } from "./format.js";
import { onLanguageChange, t } from "./i18n.js";

const dialog = document.getElementById("share-dialog");
const form = document.getElementById("share-form");
const made = document.getElementById("share-made");
const address = document.getElementById("share-address");
const password = document.getElementById("share-password");
const list = document.getElementById("share-list");
const template = document.getElementById("share-template");

let output = null;
let shares = [];
let handlers = {};

/** `onProblem` gets what went wrong. */
export function startShares(given) {
  handlers = given;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(make);
  });
  document.getElementById("share-copy").addEventListener("click", () => copyFrom(address, "share_copied"));
  document.getElementById("share-close").addEventListener("click", () => dialog.close());
  // What was shown is a secret; the next one to open this may be somebody else.
  dialog.addEventListener("close", forget);
  list.addEventListener("click", (event) => {
    const id = event.target.closest("button")?.dataset.id;
    if (id) attempt(() => end(id));
  });
  onLanguageChange(render);
}

/** Shows the links of a recording, and makes more. */
export function openShares(entry) {
  attempt(async () => {
    output = entry;
    await load();
    document.getElementById("share-text").textContent = entry.text;
    dialog.showModal();
  });
}

export function clearShares() {
  if (dialog.open) dialog.close();
  forget();
}

async function attempt(work) {
  try {
    await work();
  } catch (problem) {
    dialog.close();
    handlers.onProblem(problem);
  }
}

function forget() {
  output = null;
  shares = [];
  made.hidden = true;
  address.value = "";
  form.reset();
  render();
}

async function load() {
  shares = (await api.shares()).filter((share) => share.output_id === output.id);
  render();
}

async function make() {
  const wanted = { expires_in_s: Number(document.getElementById("share-expiry").value) };
  if (password.value) wanted.password = password.value;
  const { path } = await api.share(output.id, wanted);
  address.value = new URL(path, location.href).href;
  made.hidden = false;
  password.value = "";
  await load();
  address.focus();
  address.select();
  announce(t("share_made"));
}

async function end(id) {
  try {
    await api.endShare(id);
  } catch (problem) {
    // Ended from elsewhere, or run out meanwhile.
    if (problem.status !== 404) throw problem;
  }
  await load();
  announce(t("share_ended"));
  document.getElementById("share-close").focus();
}

function render() {
  list.replaceChildren(
    ...shares.map((share) => {
      const item = template.content.cloneNode(true);
      const when = fullMoment(new Date(share.expires_at));
      item.querySelector("time").dateTime = share.expires_at;
      item.querySelector("time").textContent = t("share_until", { when });
      item.querySelector("[data-slot=downloads]").textContent = t("share_downloads", { used: share.downloads.used });
      item.querySelector("[data-slot=locked]").textContent = share.has_password ? t("share_locked") : "";
      const button = item.querySelector("button");
      button.dataset.id = share.id;
      button.textContent = t("share_end");
      return item;
    }),
  );
}
