// Two to eight genomes side by side: only what varies, objectives with intervals, learning curves on one plot.

import { $, all, fill, h } from "../dom.js";
import { getJson } from "../data.js";
import { compareOnly, compared, visited } from "../keep.js";
import { getList, getParam, onParams, setParam, withRun } from "../state.js";
import { copyMenu } from "../charts/copy.js";
import { line } from "../charts/line.js";
import { trouble } from "../charts/refresh.js";
import { format } from "../charts/scale.js";
import { colours, onTheme, seriesColour } from "../charts/theme.js";

const MOST = 8;
const AXES = { samples: "training samples", epoch: "epochs", train_cpu_s: "CPU s" };
let data = null;
let curves = null;
let settling = null;

const ids = () => [...new Set(getList("ids", MOST))];
const short = (id) => id.slice(0, 12);

function setIds(next) {
  compareOnly(next);
  setParam("ids", next.join(","));
}

/** The mean over trials at each point of the curve, with the least and the most; as long as the shortest. */
function meanCurve(trials, along) {
  const known = trials.filter((trial) => trial.curve.accuracy?.length && trial.curve[along]);
  const points = known.length ? Math.min(...known.map((trial) => trial.curve.accuracy.length)) : 0;
  const column = (name, i) => known.map((trial) => trial.curve[name][i]).filter(Number.isFinite);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const at = Array.from({ length: points }, (_, i) => i);
  return {
    n: known.length,
    x: at.map((i) => mean(column(along, i))),
    y: at.map((i) => mean(column("accuracy", i))),
    low: at.map((i) => Math.min(...column("accuracy", i))),
    high: at.map((i) => Math.max(...column("accuracy", i))),
  };
}

function swatches() {
  const colour = colours();
  all("#genomes .swatch").forEach((one, index) => (one.style.background = seriesColour(colour, index)));
}

/** Index of the best mean of an objective, -1 where none stands out. */
function bestOf(objective) {
  const means = data.genomes.map((one) => one.objectives[objective.name]?.mean ?? NaN);
  const known = means.filter(Number.isFinite);
  if (known.length < 2) return -1;
  const best = objective.direction === "max" ? Math.max(...known) : Math.min(...known);
  return means.filter((mean) => mean === best).length === 1 ? means.indexOf(best) : -1;
}

const interval = (found, unit) => (found ? `${format(found.mean, unit)}${found.half_width === null ? "" : ` ± ${format(found.half_width, unit)}`}` : "–");

const geneText = (value) => (value === null ? "–" : typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));

function table() {
  const { genomes, objectives, genes } = data;
  const varying = genes.filter((one) => one.varies);
  const width = genomes.length + 1;
  const part = (name) => h("tr", { className: "part" }, h("th", { colspan: width, scope: "colgroup" }, name));
  const row = (name, cells, title = null) => h("tr", null, h("th", { scope: "row", title }, name), cells);
  const head = genomes.map((one, i) =>
    h(
      "th",
      { scope: "col" },
      h("span", { className: "swatch" }),
      h("a", { className: "mono", href: withRun(`/genome/${one.genome}`) }, short(one.genome)),
      h("button", { className: "out", type: "button", "aria-label": `Take ${short(one.genome)} out`, title: "Take out", onclick: () => setIds(genomes.filter((_, k) => k !== i).map((other) => other.genome)) }, "×"),
    ),
  );
  const seeds = genomes.map((one) => (one.fresh ? `${Object.values(one.objectives)[0].n} fresh seeds` : Object.keys(one.objectives).length ? "as selected, 1 seed" : "no result"));
  fill(
    $("#genomes"),
    h(
      "table",
      null,
      h("thead", null, h("tr", null, h("td", null), head)),
      h(
        "tbody",
        null,
        row("what it is", genomes.map((one) => h("td", { className: "dim" }, one.summary))),
        part("Objectives: mean ± half of the 95 % interval"),
        objectives.map((objective) => {
          const best = bestOf(objective);
          return row(objective.name, genomes.map((one, i) => h("td", { className: i === best ? "best" : null }, interval(one.objectives[objective.name], objective.unit))), objective.doc);
        }),
        row("scored on", seeds.map((text) => h("td", { className: "dim" }, text))),
        genomes.some((one) => one.failed) && row("failed", genomes.map((one) => h("td", { className: one.failed ? "bad" : "dim" }, one.failed))),
        part(`Genes that vary: ${varying.length} of ${genes.length}`),
        varying.map((gene) => row(gene.name, gene.values.map((value) => h("td", { className: value === null ? "faint mono" : "mono" }, geneText(value))))),
      ),
    ),
  );
  swatches();
  const differ = genomes.length > 1 ? `${varying.length} genes vary, ${genes.length - varying.length} are the same` : "add another genome to see what varies";
  $("#sub").textContent = `${genomes.length} of at most ${MOST}; ${differ}`;
}

function asTable() {
  const { genomes, objectives, genes } = data;
  const rows = objectives.flatMap((one) => [
    [one.name, ...genomes.map((each) => each.objectives[one.name]?.mean ?? "")],
    [`${one.name} half-width of the 95 % interval`, ...genomes.map((each) => each.objectives[one.name]?.half_width ?? "")],
  ]);
  return [["", ...genomes.map((one) => one.genome)], [...rows, ["seeds", ...genomes.map((one) => Object.values(one.objectives)[0]?.n ?? 0)], ...genes.filter((one) => one.varies).map((one) => [one.name, ...one.values.map((value) => value ?? "")])]];
}

function learning() {
  const along = getParam("along", "samples") in AXES ? getParam("along", "samples") : "samples";
  for (const button of $("#along").children) button.setAttribute("aria-pressed", String(button.dataset.to === along));
  const series = data.genomes
    .map((one, index) => ({ one, index, mean: meanCurve(one.trials, along) }))
    .filter(({ mean }) => mean.n)
    .map(({ one, index, mean }) => ({ label: `${short(one.genome)} (${mean.n} ${mean.n === 1 ? "seed" : "seeds"})`, ...mean, colour: `c${(index % 7) + 1}`, dash: index > 6 ? [6, 4] : null }));
  curves?.end();
  curves = null;
  if (!series.length) return fill($("#curves"), h("p", { className: "empty" }, "None of these has a learning curve on record: functions have none, and failures leave none."));
  curves = line($("#curves"), {
    name: "learning-curves",
    label: "Accuracy on validation while training",
    series,
    x: { label: AXES[along], unit: "" },
    y: { label: "accuracy", unit: "share" },
    height: 300,
    menu: $("#curves-copy"),
  });
}

function relaxing() {
  const series = [];
  for (const [index, one] of data.genomes.entries()) {
    const found = one.trials[0]?.settling;
    const free = (found?.free_residual ?? []).map((value) => (value > 0 ? value : NaN));
    const nudged = (found?.nudged_residual ?? []).map((value) => (value > 0 ? value : NaN));
    const colour = `c${(index % 7) + 1}`;
    if (free.some(Number.isFinite)) series.push({ label: `${short(one.genome)}, free`, x: free.map((_, i) => i + 1), y: free, colour });
    if (nudged.some(Number.isFinite)) series.push({ label: `${short(one.genome)}, nudged`, x: nudged.map((_, i) => i + 1), y: nudged, colour, dash: [6, 4] });
  }
  settling?.end();
  settling = null;
  if (!series.length) return fill($("#relaxation"), h("p", { className: "empty" }, "None of these networks settles in sweeps: without a free phase there is nothing to relax."));
  settling = line($("#relaxation"), { name: "relaxation", label: "Largest change of a state by sweep", series, x: { label: "sweep", unit: "", whole: true }, y: { label: "largest change", unit: "", log: true }, height: 240, menu: $("#relaxation-copy") });
}

function nothing() {
  const kept = compared();
  data = null;
  $("#sub").textContent = "";
  fill(
    $("#genomes"),
    h("p", { className: "empty" }, "No genome is chosen. Press c on one anywhere, or give the first digits of its id above; two to eight can be compared."),
    kept.length > 0 && h("p", null, h("button", { className: "btn", type: "button", onclick: () => setIds(kept) }, `Compare the ${kept.length} chosen before`)),
  );
  for (const name of ["#curves", "#relaxation"]) fill($(name), h("p", { className: "empty" }, "Choose genomes first."));
}

let asked = "";
async function load() {
  const wanted = ids();
  asked = wanted.join(",");
  if (!wanted.length) return nothing();
  try {
    const found = await getJson(withRun("/api/compare", { ids: asked }));
    if (asked !== ids().join(",")) return;
    if (!found.run) return nothing();
    data = found;
    table();
    learning();
    relaxing();
    visited(location.pathname + location.search, `Compare ${data.genomes.length} genomes`);
  } catch (error) {
    trouble($("#genomes"), error);
  }
}

$("#add").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("#more").value.trim().toLowerCase();
  if (!text || ids().includes(text)) return;
  $("#more").value = "";
  setIds([...ids(), text].slice(0, MOST));
});
$("#along").addEventListener("click", (event) => event.target.dataset?.to && setParam("along", event.target.dataset.to));
$("#table-copy").replaceChildren(copyMenu({ name: "comparison", csv: () => (data ? asTable() : [[], []]) }));
onTheme(swatches);
addEventListener("eqmesh:kept", (event) => {
  // Genomes added elsewhere on this page's keys join what is shown.
  const kept = compared();
  if (event.detail === "compare" && kept.join(",") !== ids().join(",")) setParam("ids", kept.join(","));
});
onParams((params) => {
  if (params.get("ids") !== (asked || null)) load();
  else if (data) learning();
});
if (!ids().length && compared().length > 1) setParam("ids", compared().join(","));
else load();
