// Edges: which of them judges by what.

import * as api from "./admin-api.js";
import { button, make, row, timeOf } from "./dom.js";
import { number } from "./format.js";
import { onLanguageChange, t } from "./i18n.js";
import { PagedList, slices } from "./paged-list.js";
import { Panel } from "./panel.js";

export function makeEdgesPanel({ onProblem }) {
  const panel = new Panel("admin_edges", onProblem);
  const state = make("p", { role: "status", test: "edges-state" });
  const again = button("secondary", "refresh", "refresh-edges", () => panel.act(() => list.load(), { pressed: again }));
  const list = new PagedList({ load: slices(load), item, empty: "edges_empty", test: "edges", onProblem });
  let control = null;
  onLanguageChange(render);

  async function load() {
    control = await api.edges();
    render();
    return control.edges;
  }

  function render() {
    state.textContent = control ? t("edges_state", { rev: control.rev, serial: number(control.serial) }) : "";
  }

  function item(edge) {
    return row({
      test: "edge-item",
      title: edge.node,
      badge: edge.error ? t("edge_complains") : edge.behind > 0 ? t("edge_behind", { count: number(edge.behind) }) : null,
      meta: [edge.region, t("revision", { rev: edge.rev }), timeOf(edge.seen_at, "seen_when")],
      more: edge.error ? [make("p.wrong", { dir: "auto" }, edge.error)] : [],
    });
  }

  return panel
    .add(make("p.hint", { i18n: "edges_text" }), make("div.label-row", {}, state, again), list.element)
    .onOpen(() => list.load())
    .onLeave(() => {
      control = null;
      render();
      list.clear();
    });
}
