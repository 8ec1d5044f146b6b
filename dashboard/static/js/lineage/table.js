// The lineage as a table: the same births as the tree, in rows that can be read, sorted and walked.

import { fill, h } from "../dom.js";
import { better, LIVING } from "./model.js";

const ROWS = 50;

/** The table into `host`. `state` is {page, sort} and lives with the caller; the rest: choose(at), change(state), names(places) that fetches ids and nameOf(at) that gives one. */
export async function paintTable(host, model, mask, state, { choose, change, names, nameOf, format, chosen }) {
  const up = model.told.objectives[0]?.direction !== "min";
  const order = [];
  for (let i = model.n - 1; i >= 0; i--) if (!mask || mask[i]) order.push(i);
  if (state.sort === "fitness") {
    const { fitness } = model;
    order.sort((a, b) => (better(fitness[a], fitness[b], up) ? -1 : better(fitness[b], fitness[a], up) ? 1 : a - b));
  }
  const pages = Math.max(1, Math.ceil(order.length / ROWS));
  const page = Math.min(state.page, pages - 1);
  const rows = order.slice(page * ROWS, (page + 1) * ROWS);
  const lead = model.told.objectives[0]?.name ?? "score";
  const sorter = (key, label) =>
    h("th", { scope: "col", "aria-sort": state.sort === key ? "descending" : "none" },
      h("button", { type: "button", className: "bare", onclick: () => change({ page: 0, sort: key }) }, label)); // prettier-ignore
  const cells = rows.map((i) => ({ i, id: h("td", { className: "mono" }, (nameOf(i) ?? "…").slice(0, 12)) }));
  fill(
    host,
    h("p", { className: "faint" }, `${order.length.toLocaleString("en")} of ${model.n.toLocaleString("en")} births, page ${page + 1} of ${pages}`),
    h(
      "div",
      { className: "scroll", tabindex: 0, role: "region", "aria-label": "Births" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, sorter("birth", "birth"), h("th", { scope: "col" }, "genome"), h("th", { scope: "col" }, "operator"), h("th", { scope: "col" }, "parents"), sorter("fitness", lead), h("th", { scope: "col" }, "standing"), h("th", { scope: "col", className: "num" }, "children"))),
        h(
          "tbody",
          {},
          cells.map(({ i, id }) =>
            h(
              "tr",
              { "aria-selected": String(i === chosen) },
              h("td", {}, h("button", { type: "button", className: "bare", onclick: () => choose(i) }, String(model.birth[i]))),
              id,
              h("td", {}, model.told.operators[model.operator[i]]),
              h("td", {}, [model.p1[i], model.p2[i]].filter((p) => p >= 0).map((p) => model.birth[p]).join(" and ") || "founder"),
              h("td", { className: "num" }, Number.isNaN(model.fitness[i]) ? "none" : format(lead, model.fitness[i])),
              h("td", {}, standingText(model, i)),
              h("td", { className: "num" }, String(model.begin[i + 1] - model.begin[i])),
            ),
          ),
        ),
      ),
    ),
    h(
      "div",
      { className: "row" },
      h("button", { type: "button", className: "btn sm", disabled: page === 0, onclick: () => change({ ...state, page: page - 1 }) }, "Previous"),
      h("button", { type: "button", className: "btn sm", disabled: page + 1 >= pages, onclick: () => change({ ...state, page: page + 1 }) }, "Next"),
    ),
  ); // prettier-ignore
  await names(rows);
  for (const { i, id } of cells) id.textContent = (nameOf(i) ?? "").slice(0, 12);
}

/** A standing in words. */
export function standingText(model, i) {
  const name = model.told.standings[model.standing[i] & ~LIVING];
  return model.standing[i] & LIVING ? `front, ${name}` : name;
}
