// The front of a run in any pair of objectives, in three, or in all. All that is chosen lives in the address.

import { $, all, fill, h } from "../dom.js";
import { getColumns, getJson } from "../data.js";
import { visited } from "../keep.js";
import { bind, compareAndSay } from "../shell.js";
import { getParam, onParams, setParam, withRun } from "../state.js";
import { copyMenu } from "../charts/copy.js";
import { legendOf, markOf } from "../charts/legend.js";
import { parallel } from "../charts/parallel.js";
import { refreshing, trouble } from "../charts/refresh.js";
import { format } from "../charts/scale.js";
import { scatter } from "../charts/scatter.js";
import { scatter3d } from "../charts/scatter3d.js";
import { Model, outsideOf, readBrushes, writeBrushes } from "../pareto/model.js";

const MOST_ROWS = 300;
const NAMED_AT_ONCE = 200;
let model = null;
let chart = null;
let drawn = "";
let selected = -1;
let listed = [];
let sliding = null;
let frame = 0;

const shapes = ["2d", "3d", "parallel"];
const flag = (name, otherwise) => getParam(name, otherwise ? "1" : "0") === "1";

/** What the address asks for, with what holds where it is silent. */
function chosen() {
  const names = model.objectives.map((one) => one.name);
  const index = (name, otherwise) => {
    const found = names.indexOf(getParam(name, ""));
    return found < 0 ? Math.min(otherwise, names.length - 1) : found;
  };
  const logs = getParam("log");
  const shape = shapes.includes(getParam("shape")) ? getParam("shape") : "2d";
  return {
    shape: shape === "3d" && names.length < 3 ? "2d" : shape,
    x: index("x", 1),
    y: index("y", 0),
    z: index("z", 2),
    logs: model.objectives.map((one) => (logs === null ? one.scale === "log" : logs.split(",").includes(one.name))),
    dominated: flag("dominated", true),
    baselines: flag("baselines", true),
    claims: flag("claims", true),
    failed: flag("failed", false),
    at: Math.max(0, Math.min(model.answer.tried, sliding ?? (Number(getParam("at", "0")) || 0))),
    brushes: readBrushes(getParam("brush", ""), names),
    view: { turn: Number(getParam("turn", "0.6")) || 0, tilt: Number(getParam("tilt", "0.35")) || 0, zoom: Number(getParam("zoom", "1")) || 1 },
    table: getParam("table", "front"),
  };
}

const axisOf = (k, logs) => {
  const { name, unit, direction } = model.objectives[k];
  return { label: name, unit, direction, log: logs[k] };
};

function controls(now) {
  $("#shape").querySelectorAll("button").forEach((button) => {
    button.setAttribute("aria-pressed", String(button.dataset.to === now.shape));
    button.disabled = button.dataset.to === "3d" && model.objectives.length < 3;
    button.title = button.disabled ? "This task has fewer than three objectives" : "";
  });
  const pick = (name, label) =>
    h(
      "label",
      null,
      label,
      h("select", { "data-axis": name, onchange: (event) => setParam(name, event.target.value) }, model.objectives.map((one, k) => h("option", { value: one.name, selected: k === now[name] }, one.name))),
    );
  const shown = { "2d": ["x", "y"], "3d": ["x", "y", "z"], parallel: [] }[now.shape];
  const tick = (name, label, on, title = null) =>
    h("label", { title }, h("input", { type: "checkbox", checked: on, "data-flag": name, onchange: (event) => setParam(name, event.target.checked ? "1" : "0") }), label);
  const logTicks = model.objectives.map((one, k) =>
    h("label", null, h("input", { type: "checkbox", checked: now.logs[k], "data-log": one.name, onchange: () => setParam("log", all("[data-log]").filter((box) => box.checked).map((box) => box.dataset.log).join(",") || "none") }), `log ${one.name}`),
  );
  const focused = document.activeElement?.dataset ?? {};
  fill($("#axes"), shown.map((name) => pick(name, { x: "Across", y: "Upright", z: "Depth" }[name])), logTicks);
  fill(
    $("#toggles"),
    tick("dominated", "not on the front", now.dominated),
    tick("baselines", "baselines", now.baselines),
    tick("claims", "claims of peers", now.claims),
    tick("failed", `failed (${model.answer.failed})`, now.failed, "Failed evaluations have no values: they are listed below"),
  );
  for (const name of ["axis", "flag", "log"]) if (focused[name]) $(`#controls [data-${name}="${CSS.escape(focused[name])}"]`)?.focus();
  const brushed = Object.keys(now.brushes);
  $("#unbrush").hidden = !brushed.length;
  $("#unbrush").textContent = `Clear the brush on ${brushed.join(", ")}`;
  const slider = $("#at");
  slider.max = String(Math.max(1, model.answer.tried));
  slider.value = String(now.at || model.answer.tried);
  $("#at-said").textContent = `${Number(slider.value).toLocaleString("en")} of ${model.answer.tried.toLocaleString("en")} evaluations`;
}

function dataFor(now, shown, outside) {
  const { values } = model;
  const upright = now.shape === "3d" ? { y: values[now.z], z: values[now.y] } : { y: values[now.y] };
  const points = { x: values[now.x], ...upright, dominated: shown.dominated, marked: shown.marked, outside };
  return { ...points, columns: values, brushes: now.brushes, stair: now.shape === "2d" ? model.stair(shown.front, now.x, now.y) : [] };
}

function draw(now, shown) {
  const outside = outsideOf(model, now.brushes);
  const data = dataFor(now, shown, outside);
  // In three dimensions z is up; what is called upright is so in both.
  const [up, deep] = now.shape === "3d" ? [now.z, now.y] : [now.y, now.z];
  const axes = { x: axisOf(now.x, now.logs), y: axisOf(up, now.logs), z: axisOf(deep, now.logs) };
  // Another shape is another chart; all else is a change of what it shows.
  if (chart && drawn === now.shape) return now.shape === "parallel" ? chart.update(data, now.logs) : chart.update(data, axes);
  chart?.end();
  drawn = now.shape;
  const options = {
    name: `pareto-${now.shape}`,
    label: `Front of ${shown.front.length} genomes in ${model.objectives.map((one) => one.name).join(", ")}`,
    height: (width) => Math.max(300, Math.min(520, width * 0.56)),
    data,
    axes,
    words: (row) => model.words(row),
    twin: () => listing(MOST_ROWS, true),
    csv: () => listing(Infinity, false),
    menu: $("#copying"),
    on: {
      hover: nameSoon,
      select: (row) => select(row, { from: "chart" }),
      open,
      brush: now.shape === "parallel" ? brushAxis : brushBox,
      turn: ({ turn, tilt, zoom }) => keepView(turn, tilt, zoom),
    },
  };
  chart =
    now.shape === "2d"
      ? scatter($("#chart"), options)
      : now.shape === "3d"
        ? scatter3d($("#chart"), { ...options, view: now.view })
        : parallel($("#chart"), { ...options, objectives: model.objectives, logs: now.logs });
  if (selected >= 0) chart.select(selected);
}

let viewTimer = null;
function keepView(turn, tilt, zoom) {
  clearTimeout(viewTimer);
  viewTimer = setTimeout(() => setParam({ turn: turn.toFixed(2), tilt: tilt.toFixed(2), zoom: zoom === 1 ? null : zoom.toFixed(2) }), 300);
}

const brushBox = ({ x, y }) => {
  const now = chosen();
  const brushes = { ...now.brushes, [model.objectives[now.x].name]: x, [model.objectives[now.y].name]: y };
  setParam("brush", writeBrushes(brushes));
};

const brushAxis = (name, range) => {
  const { [name]: _, ...others } = chosen().brushes;
  setParam("brush", writeBrushes(range ? { ...others, [name]: range } : others));
};

const open = (row) => {
  const name = model.nameOf(row);
  if (name) location.assign(withRun(`/genome/${name.genome}`));
};

/** Ask for the names of rows that are not known, then call `then` once. */
async function name(rows, then) {
  const missing = rows.filter((row) => !model.nameOf(row)).slice(0, NAMED_AT_ONCE);
  if (!missing.length) return;
  const asked = model;
  const ids = missing.map((row) => asked.answer.columns.evaluation[row]);
  const { names } = await getJson(withRun("/api/pareto/named", { evaluations: ids.join(",") }));
  for (const one of names) asked.names.set(one.evaluation, one);
  if (asked === model) then();
}

let namesTimer = null;
let hoverTimer = null;
function nameSoon(row) {
  clearTimeout(hoverTimer);
  if (row < 0 || model.nameOf(row)) return;
  hoverTimer = setTimeout(() => name([row], () => (chart.readout.textContent = model.words(row))).catch(() => {}), 120);
}

function select(row, { from = "" } = {}) {
  selected = row;
  setParam("at_row", row < 0 ? null : model.answer.columns.evaluation[row] || null);
  chart?.select(row);
  name(row < 0 ? [] : [row], () => {
    chart.select(selected);
    members(chosen());
  }).catch(() => {});
  for (const line of all("#members tbody tr")) {
    const on = Number(line.dataset.row) === row;
    line.setAttribute("aria-selected", String(on));
    if (on && from !== "chart") line.scrollIntoView({ block: "nearest" });
  }
}

/** The rows of the table: what is marked, inside the brush; with a brush, dominated ones too. */
function rowsListed(now, shown) {
  const outside = outsideOf(model, now.brushes);
  const brushed = Object.keys(now.brushes).length > 0;
  const marked = [...shown.marked].reverse().map((one) => one.index);
  const rows = (brushed ? [...marked, ...shown.dominated] : marked).filter((row) => !outside(row));
  const kinds = new Map(shown.marked.map((one) => [one.index, one.kind]));
  const best = ["front", "provisional", "refused", "baseline", "dominated"];
  const place = (row) => best.indexOf(kinds.get(row) ?? "dominated");
  const lead = model.values[0];
  const up = model.objectives[0].direction === "max" ? -1 : 1;
  return { rows: rows.sort((a, b) => place(a) - place(b) || up * (lead[a] - lead[b])), kinds };
}

function valueIn(row, k, spoken) {
  const scored = model.scoredOf(row);
  const text = format(model.values[k][row], model.objectives[k].unit);
  const spread = scored?.spreads?.[k];
  return spread && spoken ? `${text} ±${format(spread, model.objectives[k].unit)}` : text;
}

// A genome with one lucky result may lie beyond a front of fresh seeds: then nothing dominates it.
const standingOf = (kind) => (!kind || kind === "dominated" ? "not on the front" : kind);

function listing(most, spoken) {
  const now = chosen();
  const { rows, kinds } = rowsListed(now, model.shown(now));
  const header = ["genome", "standing", ...model.objectives.map((one) => one.name), "fresh seeds", ...(spoken ? [] : model.objectives.map((one) => `${one.name} deviation`))];
  const line = (row) => [
    model.nameOf(row)?.genome ?? `evaluation ${model.answer.columns.evaluation[row]}`,
    standingOf(kinds.get(row)),
    ...model.objectives.map((_, k) => (spoken ? valueIn(row, k, true) : model.values[k][row])),
    model.scoredOf(row)?.n ?? 0,
    ...(spoken ? [] : model.objectives.map((_, k) => model.scoredOf(row)?.spreads?.[k] ?? "")),
  ];
  return [header, rows.slice(0, most).map(line)];
}

function members(now) {
  const shown = model.shown(now);
  const { rows, kinds } = rowsListed(now, shown);
  listed = rows.slice(0, MOST_ROWS);
  const brushed = Object.keys(now.brushes).length;
  $("#members-sub").textContent = `${listed.length} of ${rows.length.toLocaleString("en")}${brushed ? " inside the brush" : ""}; j and k go through them, Enter opens, c compares`;
  const table = $("#members");
  if (!listed.length) {
    const why = brushed
      ? `None of ${model.rows.toLocaleString("en")} genomes lies inside the brush on ${Object.keys(now.brushes).join(", ")}. Clear the brush to see them again.`
      : "Nothing stands on the front yet.";
    return fill(table, h("tbody", null, h("tr", null, h("td", { className: "dim" }, why))));
  }
  fill(
    table,
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "Genome"), model.objectives.map((one) => h("th", { scope: "col", className: "num" }, one.name)), h("th", { scope: "col", className: "num" }, "Fresh seeds"), h("th", { scope: "col" }, "Standing"), h("th", { scope: "col" }, "What it is"))),
    h("tbody", null, listed.map((row) => memberLine(row, kinds.get(row) ?? "dominated"))),
  );
  clearTimeout(namesTimer);
  namesTimer = setTimeout(() => name(listed, () => members(chosen())).catch(() => {}), 150);
}

function memberLine(row, kind) {
  const named = model.nameOf(row);
  const claim = model.claimOf(row);
  const knee = row === model.answer.knee && kind === "front";
  return h(
    "tr",
    { dataset: { row }, "aria-selected": String(row === selected), onclick: (event) => event.target.closest("a") || select(row, { from: "table" }), ondblclick: () => open(row) },
    h("td", null, markOf(kind), named ? h("a", { className: "mono", href: withRun(`/genome/${named.genome}`) }, named.genome.slice(0, 12)) : h("span", { className: "dim" }, "…")),
    model.objectives.map((_, k) => h("td", { className: "num" }, valueIn(row, k, true))),
    h("td", { className: "num" }, model.scoredOf(row)?.n ?? 0),
    h("td", null, claim ? claim.standing : standingOf(kind), knee && [" ", h("span", { className: "tag" }, "knee")]),
    h("td", { className: "dim" }, named?.summary ?? ""),
  );
}

function failures(now) {
  $("#failures").hidden = !now.failed;
  if (!now.failed) return;
  const { kinds, newest } = model.answer.failures;
  const said = Object.entries(kinds).map(([kind, count]) => `${count} ${kind}`).join(", ");
  $("#failures-sub").textContent = said || "none";
  fill(
    $("#failures-body"),
    newest.length
      ? h("table", null, h("thead", null, h("tr", null, ["Genome", "Kind", "Why"].map((one) => h("th", { scope: "col" }, one)))), h("tbody", null, newest.map((one) => h("tr", null, h("td", null, h("a", { className: "mono", href: withRun(`/genome/${one.genome}`) }, one.genome.slice(0, 12))), h("td", { className: "bad" }, one.kind), h("td", null, one.detail)))))
      : h("p", { className: "empty" }, `None of ${model.answer.tried.toLocaleString("en")} evaluations failed.`),
  );
}

function render() {
  if (!model) return;
  const now = chosen();
  const shown = model.shown(now);
  controls(now);
  fill($("#legend"), legendOf({ ...shown.counts, ...(now.dominated ? {} : { dominated: 0 }), ...(now.baselines ? {} : { baseline: 0 }), ...(now.claims ? {} : { provisional: 0, refused: 0 }) }));
  // Once the front is scored on fresh seeds, a genome with one lucky result may lie beyond it: it was not scored again.
  const fresh = Object.keys(model.answer.scored).length ? "; means over fresh seeds, where there are any" : "";
  const unplaced = model.answer.unplaced ? `; ${model.answer.unplaced} claims have no place here yet` : "";
  $("#sub").textContent = shown.now
    ? `${shown.front.length} of ${model.own.toLocaleString("en")} genomes, hypervolume ${model.answer.hypervolume.toFixed(4)}${fresh}${unplaced}`
    : `${shown.front.length} genomes by the values they were selected by, as it stood then`;
  draw(now, shown);
  members(now);
  failures(now);
}

/** Draw with the next frame, however often it is asked for until then. */
function soon() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    render();
  });
}

async function load() {
  const answer = await getColumns(withRun("/api/pareto"));
  if (!answer.objectives.length) return fill($("#chart"), h("p", { className: "empty" }, "This store has no runs yet. Start one: eqmesh search --task digits"));
  const before = selected >= 0 ? model.answer.columns.evaluation[selected] : Number(getParam("at_row", "0"));
  model = new Model(answer);
  selected = before ? answer.columns.evaluation.indexOf(before) : -1;
  render();
  if (selected >= 0) chart.select(selected);
}

function step(by) {
  if (!listed.length) return;
  const at = listed.indexOf(selected);
  select(listed[Math.max(0, Math.min(listed.length - 1, at < 0 ? (by > 0 ? 0 : listed.length - 1) : at + by))], { from: "keys" });
}

$("#shape").addEventListener("click", (event) => event.target.dataset?.to && setParam("shape", event.target.dataset.to === "2d" ? null : event.target.dataset.to, { push: true }));
$("#controls").addEventListener("submit", (event) => event.preventDefault());
$("#unbrush").addEventListener("click", () => setParam("brush", null));
$("#at").addEventListener("input", (event) => {
  sliding = Number(event.target.value);
  soon();
});
$("#at").addEventListener("change", (event) => {
  sliding = null;
  setParam("at", Number(event.target.value) >= model.answer.tried ? null : event.target.value);
});
$("#members-copy").replaceChildren(copyMenu({ name: "pareto-members", csv: () => listing(Infinity, false) }));
bind("j", "Next member of the front", () => step(1));
bind("k", "Previous member of the front", () => step(-1));
bind("Enter", "Open the selected genome", () => (selected < 0 ? false : open(selected)));
bind("c", "Compare the selected genome", () => {
  const named = selected < 0 ? null : model.nameOf(selected);
  if (!named) return false;
  compareAndSay(named.genome);
  return true;
});
bind("x", "Show or hide what is not on the front", () => setParam("dominated", flag("dominated", true) ? "0" : "1"));
bind("Escape", "Clear selection, then the brush", () => (selected >= 0 ? select(-1) : setParam("brush", null)));
let last = "";
onParams((params) => {
  // A change of the selected row or the camera alone changes nothing that is drawn here.
  for (const quiet of ["at_row", "turn", "tilt", "zoom"]) params.delete(quiet);
  if (params.toString() === last) return;
  last = params.toString();
  soon();
});
visited(withRun("/pareto"), "Pareto front");
refreshing(load, (error) => trouble($("#chart"), error));
