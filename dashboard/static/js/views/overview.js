// The first page. Everything on it is one answer of the server, drawn again after changes.

import { $, fill, h } from "../dom.js";
import { getJson } from "../data.js";
import { visited } from "../keep.js";
import { withRun } from "../state.js";
import { stairs } from "../charts/front.js";
import { legendOf } from "../charts/legend.js";
import { line } from "../charts/line.js";
import { refreshing, trouble } from "../charts/refresh.js";
import { relaxation } from "../charts/relaxation.js";
import { format } from "../charts/scale.js";
import { scatter, valuesInWords } from "../charts/scatter.js";
import { spark } from "../charts/spark.js";
import { feedLine } from "../overview/feed.js";
import { machine } from "../overview/machine.js";

const count = (value) => value.toLocaleString("en");
const known = {};

function stat(label, value, unit, values, variable, note) {
  return h("div", { className: "stat" }, h("div", { className: "l" }, label), h("div", { className: "v" }, value, unit && h("small", null, unit)), spark(values, variable), h("div", { className: "d", title: note }, note));
}

function figures(data) {
  const [lead] = data.objectives;
  const { best, checks } = data;
  const held = checks.checked ? 1 - checks.failed / checks.checked : null;
  const half = best?.interval?.half_width;
  fill(
    $("#stats"),
    stat(
      `Best ${lead.name}`,
      best?.interval ? format(best.interval.mean, lead.unit) : "–",
      half ? `± ${format(half, lead.unit)}` : "",
      data.progress.map((one) => one.best),
      "--accent",
      !best ? "no result yet" : best.fresh ? `${best.genome.slice(0, 8)}, ${best.interval.n} fresh seeds${half ? ", 95 % interval" : ""}` : `${best.genome.slice(0, 8)}, as selected: not scored on fresh seeds yet`,
    ),
    stat("Front size", count(data.front.size), data.front.waiting ? `+ ${data.front.waiting} claimed` : "", data.progress.map((one) => one.front), "--c2", `hypervolume ${data.front.hypervolume.toFixed(4)}`),
    stat("Genomes known", count(data.known), "", data.pace.per_hour, "--c2", `${count(data.pace.last_hour)} in the last hour of work`),
    stat("Claims that hold", held === null ? "–" : (100 * held).toFixed(1), held === null ? "" : "%", [], "--good", checks.claims ? `${checks.failed} of ${checks.checked} checked here failed` : "no peer has claimed anything"),
    stat("Peers", count(data.peers_known), "", [], "--c4", data.peers_known ? `${data.peers.filter((one) => one.standing === "banned").length} banned` : "a search of this machine alone"),
  );
  $("#stats").removeAttribute("aria-busy");
}

/** The server's rows as the scatter wants them, on the first two objectives. */
function pointsOf(data) {
  const { rows } = data.points;
  const [first, second] = axesOf(data);
  const take = (axis) => Float64Array.from(rows, (row) => row.values?.[axis.index] ?? NaN);
  const [x, y] = [take(first), take(second)];
  const dominated = rows.flatMap((row, i) => (row.kind === "dominated" ? [i] : []));
  const order = ["refused", "provisional", "baseline", "front"];
  const marked = rows
    .map((row, index) => ({ index, kind: row.kind, note: row.knee ? "knee" : null }))
    .filter((one) => one.kind !== "dominated")
    .sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
  const cost = (values, axis) => (axis.direction === "max" ? values.map((v) => -v) : values);
  const front = marked.filter((one) => one.kind === "front").map((one) => one.index);
  return { x, y, dominated, marked, stair: stairs(cost(x, first), cost(y, second), front) };
}

function axesOf({ objectives }) {
  const axis = (index) => ({ index, label: objectives[index].name, unit: objectives[index].unit, log: objectives[index].scale === "log", direction: objectives[index].direction });
  // Accuracy upright, what it costs across: the way such fronts are usually drawn.
  return objectives.length > 1 ? [axis(1), axis(0)] : [axis(0), axis(0)];
}

function front(data) {
  const [x, y] = axesOf(data);
  const counts = {};
  for (const row of data.points.rows) counts[row.kind] = (counts[row.kind] ?? 0) + 1;
  counts.dominated = data.points.dominated;
  fill($("#front-legend"), legendOf(counts));
  $("#front-sub").textContent = `${y.label} against ${x.label}${data.points.every > 1 ? `; one in ${data.points.every} genomes beside the front drawn` : ""}`;
  const rows = () => known.data.points.rows;
  const words = (i) => `${rows()[i].name?.genome?.slice(0, 12) ?? "a genome not on the front"}: ${valuesInWords(known.data.objectives, rows()[i].values)}${rows()[i].name ? `; ${rows()[i].name.summary}` : ""}`;
  const points = pointsOf(data);
  if (known.front) return known.front.update(points, { x, y });
  const open = (i) => rows()[i].name && location.assign(withRun(`/genome/${rows()[i].name.genome}`));
  const table = (say) => {
    const { objectives } = known.data;
    const listed = rows().filter((row) => row.kind !== "dominated");
    return [["genome", "standing", ...objectives.map((o) => o.name)], listed.map((row) => [row.name?.genome ?? "", row.kind, ...objectives.map((o, k) => (say ? format(row.values[k], o.unit) : row.values[k]))])];
  };
  known.front = scatter($("#front"), {
    name: "pareto-front",
    label: `Front of ${data.front.size} genomes in ${y.label} and ${x.label}`,
    height: (width) => (width < 500 ? 300 : 356),
    data: points,
    axes: { x, y },
    on: { open },
    words,
    twin: () => table(true),
    csv: () => table(false),
    menu: $("#front-copy"),
    small: true,
  });
}

function progress(data) {
  const series = [{ label: "hypervolume", x: data.progress.map((one) => one.evaluations), y: data.progress.map((one) => one.hypervolume), colour: "c2", stepped: true }];
  const reference = data.objectives.map((one) => `${one.name} ${format(one.worst, one.unit)}`).join(", ");
  $("#progress-note").textContent = `By the values it selected by. Reference point: ${reference}.${data.best?.fresh ? ` Over fresh seeds it is ${data.front.hypervolume.toFixed(4)} now.` : ""}`;
  if (!data.progress.length) return fill($("#progress"), h("p", { className: "empty" }, "No evaluation has succeeded yet."));
  if (known.progress) return known.progress.update({ series });
  known.progress = line($("#progress"), {
    name: "progress",
    label: "Hypervolume by evaluations",
    series,
    x: { label: "evaluations", unit: "", whole: true },
    y: { label: "hypervolume", unit: "" },
    height: 176,
    menu: $("#progress-copy"),
    legend: false,
  });
}

function settling(data) {
  const key = data.best ? `${data.best.genome}` : "";
  if (known.settled === key) return;
  known.settled = key;
  known.relaxation?.end();
  $("#relaxation-sub").textContent = data.best ? data.best.genome.slice(0, 8) : "";
  known.relaxation = data.best
    ? relaxation($("#relaxation"), data.settling, { menu: $("#relaxation-copy"), height: 96 })
    : (fill($("#relaxation"), h("p", { className: "empty" }, "No network has been trained yet.")), null);
}

function feed(data) {
  fill($("#feed"), data.events.map((event) => feedLine(event, data.objectives)));
  if (!data.events.length) fill($("#feed"), h("li", { className: "empty" }, "Nothing has happened yet."));
  $("#feed-sub").textContent = `${count(data.tried)} evaluations, ${count(data.failed)} failed`;
}

function peers(data) {
  $("#peers-sub").textContent = data.peers_known ? "what this node makes of them, by its own checks" : "";
  if (!data.peers.length) {
    fill($("#peers"), h("p", { className: "empty" }, "This store knows no peers. Join others with: eqmesh node join"));
    return;
  }
  const tone = { trusted: "good", quarantined: "warn", banned: "bad" };
  const head = ["Peer", "Standing", "Believed", "Claims", "Confirmed", "Refused"];
  fill(
    $("#peers"),
    h(
      "table",
      null,
      h("thead", null, h("tr", null, head.map((name, i) => h("th", { scope: "col", className: i > 1 ? "num" : null }, name)))),
      h(
        "tbody",
        null,
        data.peers.map((one) =>
          h(
            "tr",
            null,
            h("td", null, h("a", { className: "mono", href: withRun(`/peer/${encodeURIComponent(one.peer)}`) }, one.me ? "this node" : `..${one.peer.slice(-12)}`)),
            h("td", { className: tone[one.standing] ?? "dim" }, one.standing),
            h("td", { className: "num" }, one.me ? "" : one.believed.toFixed(2)),
            h("td", { className: "num" }, one.claims),
            h("td", { className: "num" }, one.confirmed),
            h("td", { className: "num" }, one.refused),
          ),
        ),
      ),
    ),
  );
}

async function memory() {
  const report = await getJson("/static/measured/memory_depth.json");
  const depth = report.data.map((one) => one.depth);
  const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  const of = (label, way, colour, dash) => ({ label, x: depth, y: report.data.map((one) => middle(one[way])), colour, dash, points: true });
  line($("#memory"), {
    name: "training-memory",
    label: "Peak memory of training by hidden layers, EP and backpropagation, measured",
    series: [of("EP", "eqprop", "c1"), of("backpropagation", "backprop", "c5", [6, 3])],
    x: { label: "hidden layers", unit: "", log: true, base: 2, ticks: depth },
    y: { label: "peak", unit: "bytes", range: [0, 1.08 * Math.max(...report.data.flatMap((one) => [...one.eqprop, ...one.backprop]))] },
    height: 160,
    menu: $("#memory-copy"),
  });
  const { origin } = report;
  $("#memory-note").textContent = `Not of this store: measured on ${origin.date}, ${origin.machine}, commit ${origin.commit}, by ${origin.command}`;
  $("#memory-note").title = report.about;
}

async function load() {
  const data = await getJson(withRun("/api/overview"));
  if (!data.run) return;
  known.data = data;
  figures(data);
  front(data);
  feed(data);
  progress(data);
  settling(data);
  peers(data);
}

visited(withRun("/"), "Overview");
refreshing(load, (error) => trouble($("#front"), error));
memory().catch((error) => trouble($("#memory"), error));
machine($("#machine"), $("#machine-sub"));
