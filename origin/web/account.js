// The account: who gets in, programs that act for one, what was done, and one's own data.

import { makeActivityPanel } from "./activity.js";
import { button, make } from "./dom.js";
import { Pages } from "./pages.js";
import { Panel } from "./panel.js";
import { makePasswordPanel } from "./password.js";
import { makeErasePanel, makeExportPanel } from "./privacy.js";
import { makeTokensPanel } from "./tokens.js";

/**
 * The pages of the account. `onProblem` shows what went wrong; `onPassword(password)` and
 * `onErased()` tell what has ended every login.
 */
export function makeAccount(root, { onProblem, onPassword, onErased }) {
  return new Pages(root, "account", {
    security: [
      makePasswordPanel({ onProblem, onChanged: onPassword }),
      makeOpener("factor", "factor_hint", onProblem),
      makeOpener("logins", "logins_hint", onProblem),
    ],
    tokens: [makeTokensPanel({ onProblem })],
    activity: [makeActivityPanel({ onProblem })],
    data: [makeExportPanel({ onProblem }), makeErasePanel({ onProblem, onErased })],
  });
}

/** The button that opens a dialog; `opens` gets it by its name before it is shown. */
const openers = new Map();
export const openerOf = (name) => openers.get(name);

function makeOpener(name, hint, onProblem) {
  const opener = button("secondary", `${name}_open`, name);
  opener.id = name;
  openers.set(name, opener);
  return new Panel(name, onProblem).add(make("p.hint", { i18n: hint }), opener);
}
