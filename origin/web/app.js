// The page of cosygate: which view is shown, and what each part tells the others.
//
//   entry    log in or register      compose  text in, speech out
//   usage    the day's allowance     history  one's own recordings
//   logins   where one is logged in
//   shares   links to one's own recordings
//   voices   one's own voices
//   oidc     logging in with providers, being linked to them
//   factor   the second factor; step-up asks for it, or for the password, again

import * as api from "./api.js";
import { announce, clearAlert, showAlert, showProblem } from "./alert.js";
import * as compose from "./compose.js";
import { clearEntry, focusEntry, hasReset, startEntry } from "./entry.js";
import { addToHistory, clearHistory, loadHistory, renderHistory, startHistory } from "./history.js";
import { startLanguageSwitch, t } from "./i18n.js";
import { clearLogins, startLogins } from "./logins.js";
import { askForProviderCode, clearIdentities, readArrival, startProviders } from "./oidc.js";
import { startPlayer } from "./player.js";
import { clearSecondFactor, needSecondFactor, startSecondFactor } from "./second-factor.js";
import { adopt, renew } from "./session.js";
import { startStepUp } from "./step-up.js";
import { clearShares, openShares, startShares } from "./shares.js";
import { clearUsage, refreshUsage } from "./usage.js";
import { clearVoices, showVoices, startVoices } from "./voices.js";

const byId = (id) => document.getElementById(id);
const retry = byId("retry");
// Whose text is in the form. It outlives the login, so that a typed text does too.
let author = null;

function show(view) {
  for (const name of ["boot", "entry", "studio"]) byId(name).hidden = name !== view;
  // The card at the door bears the name itself.
  byId("brand").hidden = view === "entry";
  byId("account").hidden = view !== "studio";
  byId("logins").hidden = view !== "studio";
  byId("factor").hidden = view !== "studio";
  byId("logout").hidden = view !== "studio";
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
  byId("account-name").textContent = account.username;
  byId("account-role").textContent = account.role;
  show("studio");
  compose.focusText();
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
    report(problem);
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
  compose.rest();
  clearHistory();
  clearUsage();
  clearLogins();
  clearIdentities();
  clearSecondFactor();
  clearShares();
  clearVoices();
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
  clearAlert();
  announce("");
}

startShares({ onProblem: report });
startLogins(byId("logins"), { onProblem: report, onOut: goOut });
startStepUp();
startSecondFactor(byId("factor"), {
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
startProviders(byId("logins"), { onEnter: enter, onProblem: report });
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
byId("logout").addEventListener("click", () => attempt(logOut));
retry.addEventListener("click", start);
start();
