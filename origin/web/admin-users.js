// Users: found by name or id, given a role, kept out, let back in.

import * as api from "./admin-api.js";
import { announce } from "./alert.js";
import { ShownOnce } from "./copy.js";
import { button, choice, field, make, makeDialog, offer, row, timeOf } from "./dom.js";
import { t } from "./i18n.js";
import { PagedList } from "./paged-list.js";
import { Panel } from "./panel.js";
import { addressOf, correct } from "./route.js";

// How long somebody pauses who has finished typing.
const pauseMs = 300;

export function makeUsersPanel({ onProblem }) {
  const panel = new Panel("admin_users", onProblem);
  const search = make("input", { type: "search", maxlength: 200, autocomplete: "off", test: "user-search" });
  const list = new PagedList({ load: (after) => api.users(asked, after), item, empty: "users_empty", test: "users", onProblem });
  const editor = makeEditor(panel, () => list.load());
  let asked = "";
  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(find, pauseMs);
  });

  function find() {
    if (search.value.trim() === asked) return;
    asked = search.value.trim();
    correct(addressOf("admin", "users", { search: asked }));
    panel.act(() => list.load());
  }

  function item(user) {
    const manage = button("quiet", "user_manage", "manage-user", () => editor.open(user));
    manage.setAttribute("aria-label", t("user_manage_of", { name: user.username }));
    return row({
      test: "user-item",
      title: user.username,
      badge: user.disabled_at ? t("user_disabled") : null,
      meta: [user.role, timeOf(user.created_at, "since_when"), user.user_id],
      actions: [manage],
    });
  }

  return panel
    .add(make("div.search", {}, field("user_search", search)), list.element)
    .onOpen((query) => {
      asked = search.value = query.get("search") ?? "";
      return list.load();
    })
    .onLeave(() => {
      clearTimeout(typing);
      editor.close();
      search.value = asked = "";
      list.clear();
    });
}

/** The dialog for one user; `onChanged()` when something is otherwise now. */
function makeEditor(panel, onChanged) {
  const whose = make("p.row-title", { dir: "auto", test: "managed-user" });
  const role = choice("user-role", []);
  const isOut = make("input", { type: "checkbox", test: "user-disabled" });
  const mistake = make("p.hint.wrong", { role: "alert", test: "user-mistake" });
  const link = new ShownOnce("reset_link", "reset-link");
  const reset = button("link", "reset_make", "make-reset", makeReset);
  const trail = make("a.link", { i18n: "user_trail", test: "user-trail", on: { click: () => dialog.close() } });
  const save = make("button.primary", { type: "submit", i18n: "save", test: "save-user" });
  const form = make(
    "form.dialog-form",
    { on: { submit } },
    whose,
    field("role", role),
    make("label.check", {}, isOut, make("span", { i18n: "user_keep_out" })),
    make("p.hint", { i18n: "user_change_hint" }),
    make("div.beside", {}, trail, reset),
    link.element,
    mistake,
    make("div.dialog-buttons", {}, button("secondary", "close", "close-user", () => dialog.close()), save),
  );
  const dialog = makeDialog("user_title", "user-dialog", form);
  dialog.addEventListener("close", () => {
    link.forget();
    mistake.textContent = "";
  });
  let user = null;

  function open(given) {
    user = given;
    panel.act(async () => {
      offer(role, [...new Set([...(await api.roles()), user.role])]);
      role.value = user.role;
      isOut.checked = user.disabled_at !== null;
      whose.textContent = user.username;
      trail.href = addressOf("admin", "audit", { user: user.user_id });
      if (!dialog.open) dialog.showModal();
      role.focus();
    });
  }

  async function submit(event) {
    event.preventDefault();
    const change = {};
    if (role.value !== user.role) change.role = role.value;
    if (isOut.checked !== (user.disabled_at !== null)) change.disabled = isOut.checked;
    await attempt(save, async () => {
      if (Object.keys(change).length > 0) await api.changeUser(user.user_id, change);
      dialog.close();
      await onChanged();
      announce(t("saved"));
    });
  }

  function makeReset() {
    return attempt(reset, async () => {
      const { path } = await api.offerReset(user.user_id);
      link.show(new URL(path, location.href).href);
      link.focus();
      announce(t("reset_made"));
    });
  }

  // What the server objects to is said in the dialog; everything else behind it.
  async function attempt(pressed, work) {
    mistake.textContent = "";
    await panel.act(
      () =>
        work().catch((problem) => {
          if (problem.code === "conflict") mistake.textContent = t("user_last_admin");
          else if (problem.code !== "dropped") {
            dialog.close();
            throw problem;
          }
        }),
      { pressed },
    );
  }

  return { open, close: () => dialog.close() };
}
