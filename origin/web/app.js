// The page of cosygate: which view is shown, and what each part tells the others.
//
//   entry    log in or register      compose  text in, speech out
//   usage    the day's allowance     history  one's own recordings; selection: those that are ticked
//   logins   where one is logged in
//   shares   links to one's own recordings
//   voices   one's own voices
//   oidc     logging in with providers, being linked to them
//   factor   the second factor; step-up asks for it, or for the password, again
//   account  password, tokens, activity, one's own data; admin: what administrators do
//   route    which of these the address names

import * as api from "./api.js";
import { makeAccount, openerOf } from "./account.js";
import { announce, clearAlert, showAlert, showProblem } from "./alert.js";
import * as compose from "./compose.js";
import { clearEntry, focusEntry, hasReset, startEntry } from "./entry.js";
import { addToHistory, clearHistory, loadHistory, renderHistory, startHistory } from "./history.js";
import { startLanguageSwitch, t } from "./i18n.js";
import { clearLogins, startLogins } from "./logins.js";
import { askForProviderCode, clearIdentities, readArrival, startProviders } from "./oidc.js";
import { startPlayer } from "./player.js";
import { correct, here, onRoute } from "./route.js";
import { clearSecondFactor, needSecondFactor, startSecondFactor } from "./second-factor.js";
import { adopt, renew } from "./session.js";
import { startStepUp } from "./step-up.js";
import { clearShares, openShares, startShares } from "./shares.js";
import { clearUsage, refreshUsage } from "./usage.js";
import { clearVoices, showVoices, startVoices } from "./voices.js";

const byId = (id) => document.getElementById(id);
const retry = byId("retry");
// What somebody inside may see, by its name in the address.
const views = { speech: "studio", account: "account-view", admin: "admin-view" };
// Whose text is in the form. It outlives the login, so that a typed text does too.
let author = null;
// Who is inside.
let reader = null;
let shown = null;
let admin = null;

function show(view) {
  shown = view;
  const isInside = Object.hasOwn(views, view);
  for (const id of ["boot", "entry", ...Object.values(views)]) byId(id).hidden = id !== (views[view] ?? view);
  // The card at the door bears the name itself.
  byId("brand").hidden = view === "entry";
  for (const id of ["views", "account", "logout"]) {
    byId(id).hidden = view === "entry";
    // Their place is kept until the server has said who is there, so that nothing jumps.
    byId(id).classList.toggle("reserved", view === "boot");
  }
  byId("to-admin").hidden = reader?.role !== "admin";
  for (const link of byId("views").children) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view !== "account") account.leave(!isInside);
  if (view !== "admin") admin?.leave(!isInside);
  if (view !== "account" && view !== "admin") document.title = "cosygate";
}

/** Shows what the address names. */
async function follow(place) {
  if (reader === null) return;
  const isOpen = Object.hasOwn(views, place.view) && (place.view !== "admin" || reader.role === "admin");
  if (!isOpen) correct("#/");
  const view = isOpen ? place.view : "speech";
  const isNew = view !== shown;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  show(view);
  if (isNew) scrollTo(0, 0);
  if (view === "speech") {
    if (isNew) compose.focusText();
    return;
  }
  const pages = view === "account" ? account : await loadAdmin();
  // The reader may have gone on while it was loading.
  if (shown !== view) return;
  pages.show(place.page, place.query);
  if (isNew) pages.focus();
}

// Nobody else needs it.
async function loadAdmin() {
  if (admin === null) {
    const { makeAdmin } = await import("./admin.js");
    admin ??= makeAdmin(byId("admin-view"), { onProblem: report });
  }
  return admin;
}

function waitFor(answer) {
  byId("loading").hidden = !answer;
  retry.hidden = answer;
}

/** Only the server can tell whether there is a login: the cookie is out of reach here. */
async function start() {
  const arrived = location.hash.includes("login=");
  if (readArrival()) {
    show("entry");
    askForProviderCode();
    return;
  }
  if (hasReset()) {
    show("entry");
    focusEntry();
    return;
  }
  waitFor(true);
  show("boot");
  try {
    const account = await api.me();
    adopt();
    if (!arrived) clearAlert();
    enter(account);
  } catch (problem) {
    if (problem.status === 401) {
      show("entry");
      focusEntry();
    } else {
      showProblem(problem);
      waitFor(false);
    }
  }
}

function enter(account) {
  // The server lets such a login do nothing else.
  if (account.role === "enrol") {
    show("boot");
    needSecondFactor();
    return;
  }
  if (author !== account.user_id) compose.clear();
  author = account.user_id;
  reader = account;
  byId("account-name").textContent = account.username;
  byId("account-role").textContent = account.role;
  clearAlert();
  attempt(() => follow(here() ?? { view: "speech" }));
  attempt(loadVoices);
  attempt(loadHistory);
  attempt(loadUsage);
}

async function loadVoices() {
  const catalogue = await api.voices();
  compose.setVoices(catalogue);
  showVoices(catalogue);
  renderHistory();
}

async function loadUsage() {
  const usage = await refreshUsage();
  compose.setLimit(usage.characters_per_request);
}

async function attempt(work) {
  try {
    await work();
  } catch (problem) {
    // A part of the page itself could not be loaded.
    report(problem instanceof api.Problem || problem === null ? problem : new api.Problem({ code: "network" }));
  }
}

/** Shows a problem, or the login when that is what is missing; returns how to take the alert back. */
function report(problem) {
  if (problem === null) return showAlert(() => [t("audio_failed")]);
  if (problem.code === "dropped") return () => {};
  if (problem.status !== 401) return showProblem(problem);
  leave();
  const reason = problem.code === "step_up_required" ? "login_too_old" : "session_ended";
  return showAlert(() => [t(reason)]);
}

function leave() {
  api.dropRequests();
  reader = null;
  compose.rest();
  clearHistory();
  clearUsage();
  clearLogins();
  clearIdentities();
  clearSecondFactor();
  clearShares();
  clearVoices();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  show("entry");
  focusEntry();
}

async function logOut() {
  await api.logout();
  goOut();
}

function goOut() {
  clearEntry();
  leave();
  compose.clear();
  author = null;
  correct("");
  clearAlert();
  announce("");
}

/** A new password has ended every login; this one goes on with it, if that is all it takes. */
async function logInAgain(password) {
  try {
    enter(await api.login(reader.username, password));
    return true;
  } catch {
    leave();
    showAlert(() => [t("password_set")]);
    return false;
  }
}

const account = makeAccount(byId("account-view"), {
  onProblem: report,
  onPassword: logInAgain,
  onErased: () => {
    goOut();
    showAlert(() => [t("erased")]);
  },
});
startShares({ onProblem: report });
startLogins(openerOf("logins"), { onProblem: report, onOut: goOut });
startStepUp();
startSecondFactor(openerOf("factor"), {
  onProblem: report,
  // The next token states the role itself.
  onSet: () => attempt(async () => ((await renew()) ? start() : goOut())),
  onOut: () => attempt(logOut),
});
startLanguageSwitch(byId("language"));
startPlayer();
startEntry((account) => {
  clearAlert();
  enter(account);
});
startProviders(openerOf("logins"), { onEnter: enter, onProblem: report });
compose.startCompose({
  onMade: (entry) => {
    addToHistory(entry);
    attempt(loadUsage);
  },
  onProblem: report,
});
startHistory({
  voiceName: compose.voiceName,
  onUseAgain: compose.useAgain,
  onShare: openShares,
  onDeleted: (id) => {
    compose.forget(id);
    attempt(loadUsage);
  },
  onProblem: report,
});
startVoices({ onChanged: loadVoices, onProblem: report });
onRoute((place) => attempt(() => follow(place)));
byId("skip").addEventListener("click", (event) => {
  // The address names what is shown.
  event.preventDefault();
  byId("main").focus();
});
byId("logout").addEventListener("click", () => attempt(logOut));
retry.addEventListener("click", start);
start();
