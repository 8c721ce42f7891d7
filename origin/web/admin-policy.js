// The policy: the one in force, another one in its place, and those before it.

import * as api from "./admin-api.js";
import { announce } from "./alert.js";
import { ask } from "./ask.js";
import { button, field, make, row, timeOf } from "./dom.js";
import { onLanguageChange, t } from "./i18n.js";
import { placeIn } from "./json-place.js";
import { PagedList, slices } from "./paged-list.js";
import { Panel } from "./panel.js";

const hashCharacters = 12;

export function makePolicyPanel({ onProblem }) {
  const panel = new Panel("admin_policy", onProblem);
  const state = make("p", { role: "status", test: "policy-state" });
  const complaint = make("p.notice", { test: "policy-last-error", hidden: true });
  const attributes = { rows: 24, wrap: "off", spellcheck: "false", autocapitalize: "none", autocomplete: "off", dir: "ltr" };
  const editor = make("textarea.code", { test: "policy-document", ...attributes });
  const reason = make("input", { test: "policy-reason", maxlength: 1000, autocomplete: "off" });
  const mistake = make("p.hint.wrong", { role: "alert", dir: "auto", test: "policy-mistake" });
  const again = button("secondary", "policy_again", "policy-again", reload);
  const submit = make("button.primary", { type: "submit", i18n: "policy_publish", test: "publish-policy" });
  const form = make(
    "form.card",
    { on: { submit: publish } },
    field("policy_document", editor, { hint: mistake }),
    field("reason", reason),
    make("div.card-buttons", {}, again, submit),
  );
  const history = new PagedList({ load: slices(api.policies, 20), item, empty: "policies_empty", test: "policies", onProblem });
  const kept = make("p.notice", { i18n: "policy_kept", hidden: true, test: "policy-kept" });
  // What is in force, its text as it was shown, and the revision that the text in the form is of.
  let seen = null;
  let shown = "";
  let basis = 0;
  // What was typed before the reader went to look at something else.
  let draft = null;
  onLanguageChange(render);

  async function load() {
    seen = await api.policy();
    shown = JSON.stringify(seen.document, null, 2);
    editor.value = draft?.text ?? shown;
    basis = draft?.basis ?? seen.rev;
    kept.hidden = draft === null;
    draft = null;
    object("");
    render();
    await history.load();
  }

  function leave(isOver) {
    draft = !isOver && seen && editor.value !== shown ? { text: editor.value, basis } : null;
    seen = null;
    shown = editor.value = reason.value = "";
    kept.hidden = true;
    object("");
    render();
    history.clear();
  }

  async function reload() {
    if (editor.value !== shown && !(await ask(t("policy_discard"), "discard"))) return;
    panel.act(load, { pressed: again });
  }

  function publish(event) {
    event.preventDefault();
    object("");
    panel.act(
      async () => {
        try {
          const { rev } = await api.publish(editor.value, basis, reason.value.trim());
          reason.value = "";
          await load();
          announce(t("policy_published", { rev }));
        } catch (problem) {
          if (problem.code === "request_invalid") object(problem.detail, placeIn(editor.value, problem.detail));
          else if (problem.code === "precondition_failed") object(`${t("policy_overtaken")} ${problem.detail}`);
          else if (problem.code === "conflict") object(t("policy_file"));
          else throw problem;
        }
      },
      { pressed: submit },
    );
  }

  /** Says what the server objects to, and shows where. */
  function object(sentence, place = null) {
    mistake.textContent = sentence;
    editor.setAttribute("aria-invalid", String(sentence !== ""));
    if (place === null) return;
    editor.focus();
    editor.setSelectionRange(place.from, place.to);
    // Lines do not wrap, so all of them are as high as the first one.
    const line = editor.value.slice(0, place.from).split("\n").length - 1;
    const height = Number.parseFloat(getComputedStyle(editor).lineHeight);
    editor.scrollTop = Math.max(line * height - editor.clientHeight / 3, 0);
  }

  function render() {
    state.replaceChildren(...(seen ? [t("policy_state", { rev: seen.rev }), " ", timeOf(seen.published_at, "since_when")] : []));
    complaint.hidden = !seen?.last_error;
    complaint.textContent = seen?.last_error ?? "";
  }

  function item(revision) {
    return row({
      test: "policy-item",
      title: t("revision", { rev: revision.rev }),
      badge: revision.rev === seen?.rev ? t("in_force") : null,
      meta: [timeOf(revision.published_at), t("by_author", { author: revision.author }), revision.sha256.slice(0, hashCharacters), revision.reason],
    });
  }

  return panel
    .add(make("p.hint", { i18n: "policy_text" }), state, complaint, kept, form, make("h3", { i18n: "policy_history" }), history.element)
    .onOpen(load)
    .onLeave(leave);
}
