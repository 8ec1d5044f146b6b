// What the lineage view says in words: of the whole of it, of one birth, of what lies under the pointer.

import { format as numberText } from "../charts/scale.js";
import { childrenOf, operatorName } from "./model.js";
import { changesText } from "./panels.js";
import { standingText } from "./table.js";

/** The objective that births are coloured and compared by; undefined where there is none. */
export const lead = (view) => view.told.objectives[0];

/** A value of an objective, in its unit. */
export function format(view, name, value) {
  const objective = view.told.objectives.find((each) => each.name === name);
  return numberText(value, objective?.unit === "bytes" ? "bytes" : "");
}

/** How many births there are, and how many pass the filters. */
export function summaryText(view) {
  const { n, living, clades, kept } = view.model;
  const ancestorsKept = kept.reduce((sum, one) => sum + one, 0);
  if (!n) return "No births are on record yet. A search writes the first one within seconds.";
  const shown = view.mask ? ` ${view.mask.reduce((sum, one) => sum + one, 0).toLocaleString("en")} pass the filters.` : "";
  return `${n.toLocaleString("en")} births, ${living.length} on the front, ${(ancestorsKept - living.length).toLocaleString("en")} ancestors of them, ${clades.length.toLocaleString("en")} branches that ended.${shown}`;
}

/** One birth: its score, standing and children; with its detail also its name and what changed. */
export function birthText(view, i, detail = null) {
  const children = detail?.count ?? childrenOf(view.model, i).length;
  const { model } = view;
  const name = detail ? `${detail.line[0].id.slice(0, 8)}, birth` : "Birth";
  const score = Number.isNaN(model.fitness[i]) ? "no score" : `${lead(view)?.name} ${format(view, lead(view)?.name, model.fitness[i])}`;
  const changed = detail?.line[0].changes.length ? `; ${changesText(detail.line[0].changes)}` : "";
  return `${name} ${model.birth[i]}, ${operatorName(model.told.operators[model.operator[i]])}, ${score}, ${standingText(model, i)}, ${children} children${changed}`;
}

/** What lies under the pointer: a birth, or a branch that ended. */
export function hoverText(view, hit) {
  const root = hit.clade;
  return hit.birth !== undefined
    ? birthText(view, hit.birth)
    : `Ended branch of ${view.model.size[root].toLocaleString("en")} from birth ${view.model.birth[root]} to ${view.model.birth[view.model.last[root]]}`;
}
