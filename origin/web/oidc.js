// Logging in with a provider of OpenID Connect: a link for each under the form, what became of it, and
// which of them the reader is linked to.
//
// The way there and back is the browser's own: links and redirects. What comes back stands behind
// `#login=`, a word that is explained here.

import * as api from "./api.js";
import { announce, clearAlert, showAlert } from "./alert.js";
import { moment } from "./format.js";
import { onLanguageChange, t } from "./i18n.js";
import { proved } from "./passkeys.js";

const byId = (id) => document.getElementById(id);
const dialog = byId("provider-code-dialog");
const form = byId("provider-code-form");
const code = byId("provider-code");
const mistake = byId("provider-code-mistake");
const submit = byId("provider-code-submit");

// What went wrong; other words are nobody's.
const wrong = ["cancelled", "expired", "failed", "unavailable", "closed", "disabled", "role", "taken", "full", "other"];
const right = ["linked", "stepped_up"];

let providers = [];
let known = { password: true, identities: [], providers: [] };
let report = () => {};
let enter = () => {};

/** `onEnter` gets the account, `onProblem` what went wrong with something else. */
export function startProviders(button, { onEnter, onProblem }) {
  enter = onEnter;
  report = onProblem;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!submit.disabled) finish();
  });
  byId("provider-code-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => form.reset());
  button.addEventListener("click", () => attempt(load));
  byId("identities-list").addEventListener("click", (event) => {
    const id = event.target.closest("button")?.dataset.id;
    if (id) attempt(() => unlink(id));
  });
  byId("identities-more").addEventListener("click", (event) => {
    const id = event.target.closest("button")?.dataset.id;
    if (id) attempt(async () => location.assign((await api.linkProvider(id)).url));
  });
  onLanguageChange(render);
  attempt(async () => {
    providers = await api.providers();
    render();
  });
}

/** Reads what became of a login; true if its second factor is missing. */
export function readArrival() {
  const word = new URLSearchParams(location.hash.slice(1)).get("login");
  if (word === null) return false;
  history.replaceState(null, "", location.pathname);
  if (wrong.includes(word)) showAlert(() => [t(`provider_${word}`)]);
  if (right.includes(word)) announce(t(`provider_${word}`));
  return word === "code";
}

/** Asks for the code that goes with a login. */
export function askForProviderCode() {
  mistake.textContent = "";
  dialog.showModal();
  code.focus();
}

/** Ways to prove again who one is, for whoever has no password; true if there are any. */
export async function offerProof(list) {
  known = await api.identities();
  const linked = known.identities.map((identity) => identity.provider);
  const ways = known.password ? [] : known.providers.filter((provider) => linked.includes(provider.id));
  list.replaceChildren(
    ...ways.map((provider) => {
      const button = makeButton(t("provider_prove", { name: provider.name }), provider.id);
      button.addEventListener("click", () => attempt(async () => location.assign((await api.stepUpWith(provider.id)).url)));
      return button;
    }),
  );
  return ways.length > 0;
}

/** Forgets what was shown; the next reader may be somebody else. */
export function clearIdentities() {
  dialog.close();
  known = { password: true, identities: [], providers: [] };
  render();
}

async function finish() {
  submit.disabled = true;
  mistake.textContent = "";
  try {
    const account = await proved((proof) => api.finishLogin(proof), api.codeOf(code.value));
    dialog.close();
    clearAlert();
    enter(account);
  } catch (problem) {
    if (problem.status === 429) mistake.textContent = t("codes_too_many");
    else if (problem.code === "step_up_required") mistake.textContent = t("code_wrong");
    else {
      dialog.close();
      if (problem.status === 401) showAlert(() => [t("provider_expired")]);
      else report(problem);
    }
    code.select();
  } finally {
    submit.disabled = false;
  }
}

async function load() {
  known = await api.identities();
  render();
}

async function unlink(id) {
  try {
    await api.unlinkProvider(id);
    announce(t("identity_unlinked"));
  } catch (problem) {
    // Unlinked from elsewhere meanwhile.
    if (problem.code === "conflict") showAlert(() => [t("identity_last")]);
    else if (problem.status !== 404) throw problem;
  }
  await load();
}

async function attempt(work) {
  try {
    await work();
  } catch (problem) {
    byId("logins-dialog").close();
    report(problem);
  }
}

function makeButton(text, id) {
  const button = document.createElement("button");
  button.className = "secondary";
  button.type = "button";
  button.dataset.id = id;
  button.textContent = text;
  return button;
}

function render() {
  byId("providers").hidden = providers.length === 0;
  byId("providers").replaceChildren(
    ...providers.map((provider) => {
      const link = document.createElement("a");
      link.className = "secondary provider";
      link.dataset.test = "provider";
      link.href = `/login/oidc/${encodeURIComponent(provider.id)}`;
      link.textContent = t("provider_login", { name: provider.name });
      return link;
    }),
  );
  byId("identities").hidden = known.providers.length + known.identities.length === 0;
  const nameOf = ({ provider, issuer }) => known.providers.find(({ id }) => id === provider)?.name ?? issuer;
  byId("identities-list").replaceChildren(
    ...known.identities.map((identity) => {
      const item = byId("identity-template").content.cloneNode(true);
      item.querySelector(".device").textContent = [nameOf(identity), identity.label].filter(Boolean).join(" · ");
      const time = item.querySelector("time");
      time.dateTime = identity.created_at;
      time.textContent = t("identity_since", { when: moment(new Date(identity.created_at)) });
      const button = item.querySelector("button");
      button.dataset.id = identity.id;
      button.textContent = t("identity_unlink");
      button.setAttribute("aria-label", t("identity_unlink_of", { name: nameOf(identity) }));
      return item;
    }),
  );
  byId("identities-more").replaceChildren(
    ...known.providers.map((provider) => makeButton(t("identity_link", { name: provider.name }), provider.id)),
  );
}
