// Invitations: for whom may register where not everybody may, and as what.

import * as api from "./admin-api.js";
import { announce } from "./alert.js";
import { ask } from "./ask.js";
import { ShownOnce } from "./copy.js";
import { button, choice, field, make, offer, row, timeOf } from "./dom.js";
import { number } from "./format.js";
import { t } from "./i18n.js";
import { PagedList, slices } from "./paged-list.js";
import { Panel } from "./panel.js";

export function makeInvitationsPanel({ onProblem }) {
  const panel = new Panel("admin_invitations", onProblem);
  const role = choice("invitation-role", []);
  const counted = (test, value, max) => make("input", { type: "number", min: 1, max, step: 1, value, required: true, test, inputmode: "numeric" });
  const uses = counted("invitation-uses", 1, 1000);
  const days = counted("invitation-days", 7, 365);
  const submit = make("button.primary", { type: "submit", i18n: "invitation_make", test: "make-invitation" });
  const form = make(
    "form.card",
    { on: { submit: makeOne } },
    make("div.side-by-side", {}, field("role", role), field("invitation_uses", uses), field("invitation_days", days)),
    submit,
  );
  const link = new ShownOnce("invitation_link", "invitation-link");
  const list = new PagedList({ load: slices(api.invitations), item, empty: "invitations_empty", test: "invitations", onProblem });

  function makeOne(event) {
    event.preventDefault();
    if (!form.reportValidity()) return;
    panel.act(
      async () => {
        const { path } = await api.invite({ role: role.value, uses: Number(uses.value), days: Number(days.value) });
        link.show(new URL(path, location.href).href);
        link.focus();
        announce(t("invitation_made"));
        await list.load();
      },
      { pressed: submit },
    );
  }

  async function withdraw(invitation, pressed) {
    if (!(await ask(t("invitation_sure", { role: invitation.role }), "invitation_withdraw"))) return;
    const done = await panel.act(
      async () => {
        await api.uninvite(invitation.id).catch((problem) => {
          // Used up or taken back meanwhile.
          if (problem.status !== 404) throw problem;
        });
        link.forget();
        await list.load();
      },
      { pressed },
    );
    if (!done) return;
    announce(t("invitation_withdrawn"));
    role.focus();
  }

  function item(invitation) {
    const end = button("quiet", "invitation_withdraw", "withdraw-invitation", () => withdraw(invitation, end));
    return row({
      test: "invitation-item",
      title: invitation.role,
      meta: [
        t("invitation_left", { count: number(invitation.uses_left) }),
        timeOf(invitation.created_at, "made_when"),
        timeOf(invitation.expires_at, "until_when"),
        t("by_author", { author: invitation.author }),
      ],
      actions: [end],
    });
  }

  return panel
    .add(make("p.hint", { i18n: "invitations_text" }), form, link.element, list.element)
    .onOpen(async () => {
      await Promise.all([list.load(), api.roles().then((roles) => offer(role, roles))]);
    })
    .onLeave(() => {
      link.forget();
      form.reset();
      list.clear();
    });
}
