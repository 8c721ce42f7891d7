// Taking everything along that is one's own, and having it erased.

import * as api from "./api.js";
import { clearAlert } from "./alert.js";
import { button, field, make, makeDialog, timeOf } from "./dom.js";
import { megabytes } from "./format.js";
import { onLanguageChange, t } from "./i18n.js";
import { Panel } from "./panel.js";
import { SubmitButton } from "./submit-button.js";

// How often the page asks how far an export is.
const pauseMs = 1000;

export function makeExportPanel({ onProblem }) {
  const panel = new Panel("export_title", onProblem);
  const begin = button("primary", "export_begin", "export-begin", start);
  const text = make("p", { role: "status", test: "export-state" });
  const progress = make("progress", { max: 1, label: "export_title", hidden: true, test: "export-progress" });
  const download = make("a.primary.button", { i18n: "download", download: true, hidden: true, test: "export-download" });
  let latest = null;
  // Counts up whenever what is under way is no longer wanted.
  let turn = 0;
  let timer = 0;
  onLanguageChange(render);

  async function look(mine = (turn += 1)) {
    clearTimeout(timer);
    const found = await api.lookAtExport().catch((problem) => {
      // There was none so far.
      if (problem.status !== 404) throw problem;
      return null;
    });
    if (mine !== turn) return;
    latest = found;
    render();
    if (latest?.state === "running") timer = setTimeout(() => look(mine).catch(onProblem), pauseMs);
  }

  function start() {
    panel.act(
      async () => {
        await api.beginExport().catch((problem) => {
          // Another window was faster; its export is as good.
          if (problem.status !== 409) throw problem;
        });
        await look();
      },
      { pressed: begin },
    );
  }

  function render() {
    const state = latest?.state ?? "none";
    const isReady = state === "ready";
    progress.hidden = state !== "running";
    if (latest?.total > 0) progress.value = latest.done / latest.total;
    else progress.removeAttribute("value");
    download.hidden = !isReady;
    if (isReady) download.href = latest.download_url;
    begin.hidden = state === "running";
    begin.className = isReady ? "secondary" : "primary";
    const told = isReady ? [t("export_ready", { size: megabytes(latest.bytes) }), " ", timeOf(latest.expires_at, "until_when")] : [t(`export_${state}`)];
    text.replaceChildren(...told);
  }

  render();
  return panel
    .add(make("p.hint", { i18n: "export_text" }), make("div.card", {}, text, progress, make("div.card-buttons", {}, begin, download)))
    .onOpen(() => look())
    .onLeave(() => {
      turn += 1;
      clearTimeout(timer);
      latest = null;
      render();
    });
}

// What `DELETE /api/me` removes, and what stays; each is the key of a sentence.
const goes = ["erase_goes_history", "erase_goes_voices", "erase_goes_logins", "erase_goes_account"];
const stays = "erase_stays";

/** `onErased` is called when there is nobody any more. */
export function makeErasePanel({ onProblem, onErased }) {
  const panel = new Panel("erase_title", onProblem);
  const password = make("input", { type: "password", autocomplete: "current-password", test: "erase-password" });
  const name = make("input", { autocomplete: "off", autocapitalize: "none", spellcheck: "false", test: "erase-name" });
  const whose = make("strong", { dir: "auto" });
  const mistake = make("p.hint.wrong", { role: "alert", test: "erase-mistake" });
  const passwordField = field("password", password);
  const nameField = field("erase_name", name);
  const opener = button("danger", "erase_open", "erase", open);
  const cancel = button("secondary", "cancel", "cancel-erase", () => dialog.close());
  const submitElement = make("button.danger", { type: "submit", test: "confirm-erase" });
  const form = make(
    "form.dialog-form",
    { novalidate: true, on: { submit } },
    make("p", { i18n: "erase_text" }),
    make("ul.plain", {}, ...goes.map((key) => make("li", { i18n: key }))),
    make("p", { i18n: stays }),
    make("p", {}, make("span", { i18n: "erase_whose" }), " ", whose),
    passwordField,
    nameField,
    mistake,
    make("div.dialog-buttons", {}, cancel, submitElement),
  );
  const dialog = makeDialog("erase_title", "erase-dialog", form);
  const submitButton = new SubmitButton(submitElement, () => ({ idle: t("erase_confirm"), busy: t("erasing") }));
  dialog.addEventListener("close", clear);
  let account = null;

  function open() {
    panel.act(async () => {
      account = await api.me();
      // Users of other issuers have no password here.
      passwordField.hidden = account.created_at === null;
      whose.textContent = account.username;
      if (!dialog.open) dialog.showModal();
      (passwordField.hidden ? name : password).focus();
    });
  }

  async function submit(event) {
    event.preventDefault();
    if (!submitButton.ready) return;
    mistake.textContent = "";
    if (!passwordField.hidden && password.value === "") return refuse("password_missing", password);
    if (name.value.trim().normalize("NFKC") !== account.username.normalize("NFKC")) return refuse("erase_name_wrong", name);
    clearAlert();
    submitButton.busy();
    try {
      await erase();
      dialog.close();
      onErased();
    } catch (problem) {
      submitButton.idle();
      if (problem.code === "request_invalid") refuse("password_wrong", password);
      else if (problem.code === "conflict") refuse("erase_last_admin", name);
      else if (problem.retryAfter > 0) {
        mistake.textContent = t("erase_wait");
        submitButton.wait(problem.retryAfter, () => (mistake.textContent = ""));
      } else if (problem.code !== "dropped") {
        dialog.close();
        onProblem(problem);
      }
    }
  }

  async function erase() {
    if (passwordField.hidden) return api.eraseMe({});
    const proof = { password: password.value };
    // It asks for a recent login, too; where the password is proof of that, once is enough.
    if (account.second_factor === null) await api.stepUp(proof);
    return api.eraseMe(proof);
  }

  function refuse(key, control) {
    mistake.textContent = t(key);
    control.select();
  }

  function clear() {
    form.reset();
    mistake.textContent = "";
    submitButton.idle();
  }

  return panel.add(make("p.hint", { i18n: "erase_hint" }), opener).onLeave(() => dialog.close());
}
