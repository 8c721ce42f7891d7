// What one did here: the rows of the audit that are one's own, in words.

import * as api from "./api.js";
import { make, row, timeOf } from "./dom.js";
import { number } from "./format.js";
import { t, tOr } from "./i18n.js";
import { PagedList } from "./paged-list.js";
import { Panel } from "./panel.js";

export function makeActivityPanel({ onProblem }) {
  const load = (before) => api.ownAudit(before);
  const list = new PagedList({ load, item, empty: "activity_empty", test: "activity", onProblem });
  return new Panel("activity_title", onProblem)
    .add(make("p.hint", { i18n: "activity_text" }), list.element)
    .onOpen(() => list.load())
    .onLeave(() => list.clear());
}

function item(entry) {
  return row({ test: "activity-item", title: actionOf(entry), badge: resultOf(entry), meta: [timeOf(entry.time), ...whereOf(entry)] });
}

/** What was done, in words; of an action that has none yet, its name. */
export const actionOf = ({ action }) => tOr(`act_${action}`, action);

/** What came of it; null when it went well. */
export function resultOf({ result }) {
  // What waits its turn has another row when it is done.
  if (result === "queued") return t("act_queued");
  return result === "ok" ? null : t("act_refused", { reason: tOr(`result_${result}`, result) });
}

/** From where, and how much was spoken. */
export function whereOf({ address, via, characters }) {
  const [kind, name = ""] = via.split(/:(.*)/s);
  const way = ["edge", "cli", "origin"].includes(kind) ? t(`via_${kind}`, { name }) : via;
  return [address ?? "", way, characters ? t("act_characters", { count: number(characters) }) : ""];
}
