// Personal access tokens: for programs that are configured with one.

import * as api from "./api.js";
import { announce } from "./alert.js";
import { ask } from "./ask.js";
import { ShownOnce } from "./copy.js";
import { button, choice, field, make, row, timeOf } from "./dom.js";
import { t, tOr } from "./i18n.js";
import { PagedList, slices } from "./paged-list.js";
import { Panel } from "./panel.js";

// What a token may be allowed; without any it only reads.
const scopes = ["speech"];
const days = [7, 30, 90, 365];
const usualDays = "90";

export function makeTokensPanel({ onProblem }) {
  const panel = new Panel("tokens_title", onProblem);
  const name = make("input", { test: "token-name", maxlength: 64, autocomplete: "off", required: true });
  const until = choice("token-days", days.map((count) => [String(count), `days_${count}`]));
  until.value = usualDays;
  const boxes = scopes.map((scope) => make("input", { type: "checkbox", value: scope, test: `token-scope-${scope}`, checked: true }));
  const allowed = make(
    "fieldset.field",
    {},
    make("legend", { i18n: "token_scopes" }),
    ...boxes.map((box, at) => make("label.check", {}, box, make("span", { i18n: `scope_${scopes[at]}` }))),
    make("p.hint", { i18n: "token_scopes_hint" }),
  );
  const submit = make("button.primary", { type: "submit", i18n: "token_make", test: "make-token" });
  const form = make("form.card", { test: "token-form", on: { submit: makeOne } }, field("token_name", name), field("token_days", until), allowed, submit);

  const secret = new ShownOnce("token_once", "token-secret");
  const snippet = new ShownOnce("token_snippet", "token-snippet", 2);
  const made = make("div.card.made", { hidden: true, test: "token-made" }, make("p", { i18n: "token_made" }), secret.element, snippet.element);

  const list = new PagedList({ load: slices(api.tokens), item, empty: "tokens_empty", test: "tokens", onProblem });

  function makeOne(event) {
    event.preventDefault();
    if (!form.reportValidity()) return;
    forget();
    const wanted = { name: name.value.trim(), scopes: boxes.filter((box) => box.checked).map((box) => box.value), expires_in_days: Number(until.value) };
    panel.act(
      async () => {
        const { token } = await api.makeToken(wanted);
        secret.show(token);
        // What the official clients read by themselves.
        snippet.show(`OPENAI_BASE_URL=${new URL("/v1", location.href).href}\nOPENAI_API_KEY=${token}`);
        made.hidden = false;
        secret.focus();
        announce(t("token_made"));
        form.reset();
        until.value = usualDays;
        await list.load();
      },
      { known: { conflict: "tokens_full" }, pressed: submit },
    );
  }

  async function revoke(token, pressed) {
    if (!(await ask(t("token_revoke_sure", { name: token.name }), "token_revoke"))) return;
    const done = await panel.act(
      async () => {
        await api.revokeToken(token.id).catch((problem) => {
          // Withdrawn from elsewhere meanwhile: that is what was asked for.
          if (problem.status !== 404) throw problem;
        });
        await list.load();
      },
      { pressed },
    );
    if (!done) return;
    forget();
    announce(t("token_revoked", { name: token.name }));
    name.focus();
  }

  function item(token) {
    const end = button("quiet", "token_revoke", "revoke-token", () => revoke(token, end));
    end.setAttribute("aria-label", t("token_revoke_of", { name: token.name }));
    return row({
      test: "token-item",
      title: token.name,
      badge: token.ended_at ? tOr(`token_ended_${token.ended_why}`, token.ended_why) : null,
      meta: [
        token.scopes.map((scope) => tOr(`scope_${scope}`, scope)).join(", ") || t("scope_none"),
        timeOf(token.created_at, "made_when"),
        timeOf(token.expires_at, "until_when"),
        token.used_at ? timeOf(token.used_at, "used_when") : t("used_never"),
      ],
      actions: token.ended_at ? [] : [end],
    });
  }

  function forget() {
    secret.forget();
    snippet.forget();
    made.hidden = true;
  }

  return panel
    .add(make("p.hint", { i18n: "tokens_text" }), form, made, list.element)
    .onOpen(() => list.load())
    .onLeave(() => {
      forget();
      form.reset();
      until.value = usualDays;
      list.clear();
    });
}
