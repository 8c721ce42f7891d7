// The audit of everybody: searched, and taken along as JSON lines.

import { actionOf, resultOf, whereOf } from "./activity.js";
import * as api from "./admin-api.js";
import { announce } from "./alert.js";
import { button, field, make, row, timeOf } from "./dom.js";
import { t } from "./i18n.js";
import { PagedList } from "./paged-list.js";
import { Panel } from "./panel.js";
import { addressOf, correct } from "./route.js";
import { save } from "./save.js";

export function makeAuditPanel({ onProblem }) {
  const panel = new Panel("admin_audit", onProblem);
  const input = (test, type = "text") => make("input", { type, test, maxlength: 200, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const since = input("audit-since", "datetime-local");
  const fields = { user: input("audit-user"), action: input("audit-action"), request_id: input("audit-request") };
  const search = make("button.primary", { type: "submit", i18n: "search", test: "audit-search" });
  const take = button("secondary", "audit_export", "audit-export", exportAll);
  const form = make(
    "form.card",
    { on: { submit: find } },
    make(
      "div.side-by-side",
      {},
      field("audit_since", since),
      field("audit_user", fields.user),
      field("audit_action", fields.action),
      field("audit_request", fields.request_id),
    ),
    make("div.card-buttons", {}, take, search),
  );
  const list = new PagedList({ load, item, empty: "audit_empty", test: "audit", onProblem });
  let wanted = {};

  async function load(before) {
    return api.audit(wanted, before);
  }

  function read() {
    const found = Object.fromEntries(Object.entries(fields).map(([name, control]) => [name, control.value.trim()]));
    // The control has the reader's own time; the server has UTC.
    if (since.value) found.since = new Date(since.value).toISOString();
    return found;
  }

  function find(event) {
    event.preventDefault();
    wanted = read();
    correct(addressOf("admin", "audit", wanted));
    panel.act(() => list.load(), { pressed: search });
  }

  function exportAll() {
    panel.act(
      async () => {
        save(await api.exportAudit(read()), `audit-${new Date().toISOString().slice(0, 10)}.jsonl`);
        announce(t("audit_exported"));
      },
      { pressed: take },
    );
  }

  function item(entry) {
    const who = entry.user_id ? make("a", { href: addressOf("admin", "users", { search: entry.user_id }) }, entry.user_id) : t("nobody");
    return row({
      test: "audit-item",
      title: actionOf(entry),
      badge: resultOf(entry),
      meta: [timeOf(entry.time), who, ...whereOf(entry)],
      more: [make("p.meta", {}, ...[`#${entry.seq}`, entry.action, entry.object, entry.request_id].filter(Boolean).map((part) => make("span", {}, part)))],
    });
  }

  return panel
    .add(make("p.hint", { i18n: "audit_text" }), form, list.element)
    .onOpen((query) => {
      for (const [name, control] of Object.entries(fields)) control.value = query.get(name) ?? "";
      since.value = localTime(query.get("since"));
      wanted = read();
      return list.load();
    })
    .onLeave(() => {
      form.reset();
      list.clear();
    });
}

/** What a `datetime-local` control takes; empty for what is no time. */
function localTime(iso) {
  const date = new Date(iso ?? NaN);
  if (Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
