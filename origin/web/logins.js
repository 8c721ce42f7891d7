// Where one is logged in, and ending it.

import * as api from "./api.js";
import { announce } from "./alert.js";
import { fullMoment, moment } from "./format.js";
import { onLanguageChange, t } from "./i18n.js";

const dialog = document.getElementById("logins-dialog");
const list = document.getElementById("logins-list");
const template = document.getElementById("login-template");
const endAll = document.getElementById("logins-end-all");

let logins = [];

/** `onProblem` gets what went wrong; `onOut` is called when this login has ended, too. */
export function startLogins(button, { onProblem, onOut }) {
  const attempt = async (work) => {
    try {
      await work();
    } catch (problem) {
      dialog.close();
      onProblem(problem);
    }
  };
  button.addEventListener("click", () =>
    attempt(async () => {
      await load();
      dialog.showModal();
    }),
  );
  document.getElementById("logins-close").addEventListener("click", () => dialog.close());
  endAll.addEventListener("click", () =>
    attempt(async () => {
      await api.endAllLogins();
      dialog.close();
      onOut();
    }),
  );
  list.addEventListener("click", (event) => {
    const id = event.target.closest("button")?.dataset.id;
    if (id) attempt(() => end(id));
  });
  onLanguageChange(render);
}

/** Forgets what was shown; the next reader may be somebody else. */
export function clearLogins() {
  dialog.close();
  logins = [];
  render();
}

async function load() {
  logins = (await api.logins()).filter((login) => login.ended_at === null);
  render();
}

async function end(id) {
  try {
    await api.endLogin(id);
  } catch (problem) {
    // Ended from elsewhere meanwhile.
    if (problem.status !== 404) throw problem;
  }
  await load();
  announce(t("login_ended"));
  document.getElementById("logins-close").focus();
}

function render() {
  list.replaceChildren(
    ...logins.map((login) => {
      const item = template.content.cloneNode(true);
      const label = login.label || t("device_unknown");
      item.querySelector(".device").textContent = login.current ? t("device_this", { device: label }) : label;
      item.querySelector('[data-slot="address"]').textContent = login.address;
      const seen = new Date(login.seen_at);
      const time = item.querySelector("time");
      time.dateTime = login.seen_at;
      time.title = fullMoment(seen);
      time.textContent = t("device_seen", { when: moment(seen) });
      const button = item.querySelector("button");
      button.hidden = login.current;
      button.dataset.id = login.id;
      button.textContent = t("end_login");
      button.setAttribute("aria-label", t("end_login_of", { device: label }));
      return item;
    }),
  );
}
