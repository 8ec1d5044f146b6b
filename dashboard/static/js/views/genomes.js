// The table of genomes: filtered, sorted and paged by the server; all that is chosen stands in the address.

import { format } from "../charts/scale.js";
import { $, fill, h } from "../dom.js";
import { getJson } from "../data.js";
import { follow } from "../follow.js";
import { chooseRow } from "../rows.js";
import { bind, compareAndSay, compared } from "../shell.js";
import { getList, getParam, onParams, setParam, withRun } from "../state.js";
import { geneText, genomeLink, short, tag, trouble } from "../words.js";

const STANDINGS = ["front", "dominated", "baseline", "failed", "unevaluated"];
const FIXED = ["scope", "where", "standing", "sort", "order", "after", "before"];
const MOST_COLUMNS = 16;
const body = $("#rows");
const filters = $("#filters");
let asking = null;
let shown = null;
let selected = 0;
let furnished = false;

const query = (names = FIXED) => Object.fromEntries(names.map((name) => [name, getParam(name)]).filter(([, value]) => value));

async function load({ keep = false } = {}) {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  try {
    const found = await getJson(withRun("/api/genomes", query()), { signal });
    shown = found;
    selected = keep ? Math.min(selected, Math.max(0, found.rows.length - 1)) : 0;
    if (!furnished) furnish();
    draw();
    const counted = await getJson(withRun("/api/genomes/count", query(["scope", "where", "standing"])), { signal });
    tell(counted);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!furnished && error.status === 400) furnish();
    $("#counted").textContent = "";
    fill(body, trouble(error));
  }
}

// The form

function furnish() {
  furnished = true;
  const where = h("input", {
    className: "inp", id: "where", type: "search", list: "names", maxlength: 400, spellcheck: "false", autocomplete: "off",
    "aria-label": "Filter, such as depth >= 2 and optimizer = adam", placeholder: "depth >= 2 and optimizer = adam", value: getParam("where", ""),
  });
  const names = shown?.names ?? { objectives: [], genes: [], columns: [] };
  const every = [...names.objectives, ...names.genes, ...names.columns];
  const standing = h("select", { className: "sel", "aria-label": "Standing" }, h("option", { value: "" }, "any standing"), STANDINGS.map((word) => h("option", { value: word, selected: getParam("standing") === word }, word)));
  const scope = h("select", { className: "sel", "aria-label": "Which genomes" }, h("option", { value: "" }, "of this run"), h("option", { value: "store", selected: getParam("scope") === "store" }, "of the whole store"));
  fill(
    filters,
    where,
    h("datalist", { id: "names" }, every.map((name) => h("option", { value: `${name} ` }))),
    standing,
    scope,
    h("button", { className: "btn", type: "submit" }, "Filter"),
    columnChooser(names),
  );
  filters.addEventListener("submit", (event) => {
    event.preventDefault();
    setParam({ where: where.value.trim(), after: null, before: null }, { push: true });
  });
  where.addEventListener("search", () => filters.requestSubmit());
  standing.addEventListener("change", () => setParam({ standing: standing.value, after: null, before: null }, { push: true }));
  scope.addEventListener("change", () => setParam({ scope: scope.value, after: null, before: null }, { push: true }));
}

function columnChooser(names) {
  const chosen = new Set(getList("columns", MOST_COLUMNS));
  const box = (name) =>
    h(
      "label",
      { className: "ck" },
      h("input", {
        type: "checkbox",
        checked: chosen.has(name),
        onchange: (event) => {
          if (event.target.checked && chosen.size >= MOST_COLUMNS) event.target.checked = false;
          else chosen[event.target.checked ? "add" : "delete"](name);
          setParam("columns", [...chosen]);
        },
      }),
      name,
    );
  return h(
    "details",
    {},
    h("summary", { className: "btn" }, "Columns"),
    h("div", {}, h("h3", {}, "Birth"), ["operator", "born", "parents", "failure", "space"].map(box), h("h3", {}, "Genes"), names.genes.map(box)),
  );
}

// The table

function columnsOf() {
  const extra = getList("columns", MOST_COLUMNS);
  const { objectives, names } = shown;
  const words = {
    operator: (row) => row.operator || "–",
    parents: (row) => (row.parents.length ? row.parents.map((id, at) => [at ? " " : "", genomeLink(id, id.slice(0, 8))]) : "–"),
    failure: (row) => row.failure || "–",
    space: (row) => row.space,
  };
  return [
    { name: "Genome", cell: (row) => [genomeLink(row.id), compared().includes(row.id) ? h("span", { className: "tag" }, "compared") : null] },
    { name: "What it is", cell: (row) => row.summary, wide: true },
    { name: "Standing", cell: (row) => [tag(row.standing), row.failure ? ` ${row.failure}` : null] },
    ...objectives.map((o) => ({ name: o.name, sort: o.name, number: true, title: o.unit, cell: (row) => format(row.objectives[o.name], o.unit) })),
    ...extra.filter((name) => name in words).map((name) => ({ name, cell: words[name] })),
    ...(extra.includes("born") ? [{ name: "born", sort: "born", number: true, cell: (row) => row.born ?? "–" }] : []),
    ...extra.filter((name) => names.genes.includes(name)).map((name) => ({ name, sort: name, number: true, cell: (row) => geneText(row.genes[name]) })),
  ];
}

function draw() {
  pager();
  if (!shown.rows.length) return;
  const columns = columnsOf();
  const sort = getParam("sort", "recorded");
  const up = getParam("order") === "up";
  const head = columns.map(({ name, sort: key, number, title }) =>
    h(
      "th",
      { scope: "col", className: number ? "num" : null, title: title ?? null, "aria-sort": key && key === sort ? (up ? "ascending" : "descending") : null },
      key
        ? h("button", { type: "button", onclick: () => setParam({ sort: key, order: key === sort && !up ? "up" : null, after: null, before: null }, { push: true }) }, name)
        : name,
    ),
  );
  const rows = shown.rows.map((row, at) =>
    h(
      "tr",
      { tabindex: at === selected ? 0 : -1, "aria-selected": String(at === selected), dataset: { id: row.id }, onclick: (event) => event.target.closest("a") || select(at), onfocus: () => select(at, { focus: false }) },
      columns.map(({ cell, number, wide }) => h("td", { className: [number ? "num" : "", wide ? "wide" : ""].join(" ").trim() || null }, cell(row))),
    ),
  );
  const had = body.contains(document.activeElement);
  fill(body, h("div", { className: "scroll" }, h("table", { className: "records", role: "grid", "aria-label": "Genomes", "aria-rowcount": -1 }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))));
  if (had) select(selected);
}

function select(at, options) {
  const chosen = chooseRow(body, at, options);
  if (chosen >= 0) selected = chosen;
}

function pager() {
  const go = (label, params, there) => h("button", { className: "btn sm", type: "button", disabled: !there, onclick: () => setParam(params, { push: true }) }, label);
  const paged = getParam("after") || getParam("before");
  fill(
    $("#pager"),
    h("span", { className: "row" }, go("First", { after: null, before: null }, paged), go("Previous", { before: shown.previous, after: null }, shown.previous), go("Next", { after: shown.next, before: null }, shown.next)),
  );
}

function tell(counted) {
  const many = (number) => number.toLocaleString();
  const where = getParam("where") || getParam("standing");
  $("#counted").textContent = where ? `${many(counted.matching)} of ${many(counted.total)} match` : `${many(counted.total)} rows`;
  if (shown.rows.length) return;
  if (!counted.total) {
    fill(
      body,
      h("div", { className: "none" }, h("p", {}, `Store ${document.body.dataset.store} has no genomes ${getParam("scope") === "store" ? "yet" : "in this run yet"}: 0 rows.`), h("p", { className: "dim" }, "A running search adds them as they are evaluated; this page follows. To start one: ", h("code", {}, "eqmesh search --store STORE"))),
    );
    return;
  }
  if (counted.matching) {
    fill(body, h("div", { className: "none" }, h("p", {}, `This page is past the last of ${many(counted.matching)} rows.`), h("button", { className: "btn", type: "button", onclick: () => setParam({ after: null, before: null }) }, "First page")));
    return;
  }
  const drop = (text) => {
    const rest = counted.without.map(([other]) => other).filter((other) => other !== text && !other.startsWith("standing = "));
    const standing = text.startsWith("standing = ") && text === `standing = ${getParam("standing")}` ? null : getParam("standing");
    setParam({ where: rest.join(" and "), standing, after: null, before: null }, { push: true });
    $("#where").value = rest.join(" and ");
    $("select", filters).value = standing ?? "";
  };
  fill(
    body,
    h(
      "div",
      { className: "none" },
      h("p", {}, `None of ${many(counted.total)} genomes in ${document.body.dataset.store} matches all tests. Drop one:`),
      h("ul", {}, counted.without.map(([text, number]) => h("li", {}, h("button", { className: "btn sm", type: "button", onclick: () => drop(text) }, `Without ${text}`), h("span", { className: "dim" }, `${many(number)} match`)))),
      h("button", { className: "btn", type: "button", onclick: () => { $("#where").value = ""; $("select", filters).value = ""; setParam({ where: null, standing: null, after: null, before: null }, { push: true }); } }, "Drop all"),
    ),
  );
}

bind("j", "Next genome", () => select(selected + (body.contains(document.activeElement) ? 1 : 0)));
bind("k", "Previous genome", () => select(selected - (body.contains(document.activeElement) ? 1 : 0)));
bind("Enter", "Open the genome", () => {
  const row = shown?.rows[selected];
  if (!row) return false;
  location.assign(withRun(`/genome/${row.id}`));
});
bind("c", "Compare the genome, or no longer", () => {
  const row = shown?.rows[selected];
  if (!row) return false;
  compareAndSay(row.id);
  draw();
});
bind("Escape", "Leave the table", () => {
  if (!body.contains(document.activeElement)) return false;
  document.activeElement.blur();
});

let asked = "";
onParams(() => {
  const now = JSON.stringify(query());
  if (now !== asked) {
    asked = now;
    load();
  } else if (shown) draw();
  if ($("#where")) $("#where").value = getParam("where", "");
});
asked = JSON.stringify(query());
load();
// A page in the middle stays as it is while somebody reads it.
follow(["evaluations", "births"], () => !getParam("after") && !getParam("before") && shown && load({ keep: true }), 2000);
