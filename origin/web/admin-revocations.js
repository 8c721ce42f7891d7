// Revocations: tokens that are withdrawn before their time.

import * as api from "./admin-api.js";
import { announce } from "./alert.js";
import { ask } from "./ask.js";
import { choice, field, make, row, timeOf } from "./dom.js";
import { t, tOr } from "./i18n.js";
import { PagedList, slices } from "./paged-list.js";
import { Panel } from "./panel.js";

const kinds = ["user", "session", "token", "pat", "client", "issuer"];

export function makeRevocationsPanel({ onProblem }) {
  const panel = new Panel("admin_revocations", onProblem);
  const kind = choice("revocation-kind", kinds.map((name) => [name, `kind_${name}`]));
  const text = (test, maxlength, required) => make("input", { test, maxlength, required, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const subject = text("revocation-subject", 512, true);
  const reason = text("revocation-reason", 1000, false);
  const submit = make("button.danger", { type: "submit", i18n: "revocation_make", test: "make-revocation" });
  const form = make(
    "form.card",
    { on: { submit: revoke } },
    make("div.side-by-side", {}, field("revocation_kind", kind), field("revocation_subject", subject), field("reason", reason)),
    submit,
  );
  const list = new PagedList({ load: slices(api.revocations), item, empty: "revocations_empty", test: "revocations", onProblem });

  async function revoke(event) {
    event.preventDefault();
    if (!form.reportValidity()) return;
    const what = { kind: kind.value, subject: subject.value.trim(), reason: reason.value.trim() };
    if (!(await ask(t("revocation_sure", { kind: t(`kind_${what.kind}`), subject: what.subject }), "revocation_make"))) return;
    await panel.act(
      async () => {
        await api.revoke(what);
        form.reset();
        await list.load();
        announce(t("revocation_made"));
      },
      { pressed: submit },
    );
  }

  function item(entry) {
    return row({
      test: "revocation-item",
      title: entry.subject,
      badge: tOr(`kind_${entry.kind}`, entry.kind),
      meta: [timeOf(entry.at), timeOf(entry.expires_at, "told_until"), t("by_author", { author: entry.author }), entry.reason],
    });
  }

  return panel
    .add(make("p.hint", { i18n: "revocations_text" }), form, list.element)
    .onOpen(() => list.load())
    .onLeave(() => {
      form.reset();
      list.clear();
    });
}
