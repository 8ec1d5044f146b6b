// This machine, the workers, the pace of the record and the store: sampled only while somebody looks.

import { line } from "../charts/line.js";
import { format } from "../charts/scale.js";
import { $, fill, h } from "../dom.js";
import { getJson } from "../data.js";
import { follow } from "../follow.js";
import { isPaused } from "../live.js";
import { percent, span, table, trouble, when } from "../words.js";

const EVERY_MS = 2000;
const KEPT = 150;
const samples = [];
let before = null;
let pace = null;
let cpuChart = null;

function meter(name, share, words) {
  const value = Math.max(0, Math.min(100, 100 * share));
  return h(
    "div",
    { className: "meter" },
    h("span", {}, name),
    h("span", { className: "trk", role: "meter", "aria-label": name, "aria-valuenow": value.toFixed(0), "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuetext": words }, h("b", { style: { width: `${value}%` } })),
    h("span", { className: "num" }, words),
  );
}

const host = h("div", {});
const meters = h("div", {});

async function sample() {
  if (document.hidden || isPaused()) return;
  try {
    const { at, machine } = await getJson("/api/resources/machine");
    show(at, machine);
    before = { at, machine };
  } catch (error) {
    fill(meters, trouble(error));
  }
}

function show(at, machine) {
  const known = machine.busy_ticks !== null;
  const busy = known && before ? (machine.busy_ticks - before.machine.busy_ticks) / Math.max(1, machine.all_ticks - before.machine.all_ticks) : null;
  const memory = machine.memory;
  const used = memory ? memory.total_bytes - memory.available_bytes : 0;
  if (busy !== null) {
    samples.push({ at, cpu: busy, memory: memory ? used / memory.total_bytes : NaN, gpu: machine.gpus[0]?.busy ?? null });
    samples.splice(0, samples.length - KEPT);
  }
  $("#sampled").textContent = `every ${EVERY_MS / 1000} s while this page is open`;
  fill(
    meters,
    busy === null ? h("p", { className: "dim" }, known ? "The share of CPU needs a second sample." : "This system has no /proc/stat: CPU is not known.") : meter("CPU", busy, `${percent(busy)} of ${machine.cpus} cores`),
    meter("Load", machine.load[0] / machine.cpus, machine.load.map((one) => one.toFixed(2)).join(", ")),
    memory ? meter("RAM", used / memory.total_bytes, `${format(used, "bytes")} of ${format(memory.total_bytes, "bytes")}`) : null,
    machine.gpus.map((gpu, i) => [
      gpu.busy === null ? null : meter(`GPU ${i}`, gpu.busy / 100, `${gpu.busy} %, ${gpu.name}`),
      gpu.used_bytes === null ? null : meter(`GPU ${i} memory`, gpu.used_bytes / gpu.total_bytes, `${format(gpu.used_bytes, "bytes")} of ${format(gpu.total_bytes, "bytes")}`),
    ]),
    machine.gpus.length ? null : h("p", { className: "faint" }, "No GPU that nvidia-smi tells of."),
  );
  drawHistory();
  workers(machine, at);
}

function drawHistory() {
  if (samples.length < 2) return;
  const now = samples.at(-1).at;
  const x = samples.map((one) => one.at - now);
  const series = [
    { label: "CPU", x, y: samples.map((one) => one.cpu), colour: "c2" },
    { label: "RAM", x, y: samples.map((one) => one.memory), colour: "c4", dash: [6, 3] },
  ];
  if (samples.some((one) => one.gpu !== null)) series.push({ label: "GPU", x, y: samples.map((one) => (one.gpu === null ? NaN : one.gpu / 100)), colour: "c3" });
  if (cpuChart) cpuChart.update({ series });
  else cpuChart = line(host, { name: "machine", label: "Use of this machine since the page was opened", series, x: { label: "seconds ago", unit: "" }, y: { label: "share", unit: "share", range: [0, 1] }, height: 140 });
}

function workers(machine, at) {
  const old = new Map((before?.machine.workers ?? []).map((worker) => [worker.pid, worker.ticks]));
  const seconds = before ? at - before.at : 0;
  fill(
    $("#workers"),
    machine.workers.length
      ? table(
          "Workers on this machine",
          [["Process", true], ["CPU", true], ["CPU so far", true], ["Memory", true]],
          machine.workers.map((worker) => [worker.pid, old.has(worker.pid) && seconds ? percent((worker.ticks - old.get(worker.pid)) / machine.ticks_per_s / seconds) : "–", span(worker.ticks / machine.ticks_per_s), format(worker.resident_bytes, "bytes")]),
        )
      : h("p", { className: "dim" }, "No worker trains on this machine now."),
    h("p", { className: "faint" }, "Workers of every search of this user on this machine."),
  );
}

async function node() {
  try {
    const { running, state } = await getJson("/api/node");
    $("#node-words").textContent = running ? (state ? `${state.doing}: ${state.training} in training, ${state.queued} queued${state.limit === null ? "" : `, ${state.evaluations} of ${state.limit} evaluations`}${state.mesh ? ", on the mesh" : ""}` : "a node runs") : "no search or node runs on this store";
  } catch (error) {
    $("#node-words").textContent = error.message;
  }
}

async function store() {
  try {
    draw(await getJson("/api/resources/store"));
  } catch (error) {
    fill($("#store"), trouble(error));
  }
  node();
}

function draw({ size, pace: found, per_hour, calibrations }) {
  const all = size.store_bytes + size.wal_bytes + size.weights_bytes;
  $("#store-words").textContent = size.path;
  fill(
    $("#store"),
    meter("Disk", 1 - size.disk_free_bytes / size.disk_bytes, `${format(size.disk_free_bytes, "bytes")} free`),
    h(
      "dl",
      { className: "kv" },
      [
        ["Record", format(size.store_bytes, "bytes")],
        ["Write-ahead log", format(size.wal_bytes, "bytes")],
        [`Weights kept (${size.counted_all ? "" : "at least "}${size.weights_files} files)`, format(size.weights_bytes, "bytes")],
        ["All", format(all, "bytes")],
        ...Object.entries(size.rows).map(([name, count]) => [`Rows: ${name}`, count.toLocaleString()]),
      ].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
    ),
  );
  $("#pace-words").textContent = found.last_at === null ? "" : `${found.last_hour.toLocaleString()} evaluations in the hour up to the last one (${when(found.last_at)})`;
  if (per_hour.length) {
    const age = found.last_at - per_hour[0][0];
    const [unit, name] = age > 7200 ? [3600, "hours"] : age > 120 ? [60, "minutes"] : [1, "seconds"];
    const x = { label: `${name} before the last result`, unit: "" };
    const series = [{ label: "evaluations an hour", x: per_hour.map(([at]) => (at - found.last_at) / unit), y: per_hour.map(([, rate]) => rate), colour: "c1" }];
    if (pace) pace.update({ series, x });
    else pace = line($("#pace"), { name: "pace", label: "Evaluations an hour, by the record", series, x, y: { label: "evaluations an hour", unit: "" }, height: 200, menu: $("#pace-menu") });
  } else fill($("#pace"), h("p", { className: "dim" }, "The record has too few results to tell a pace."));
  fill(
    $("#calibration"),
    calibrations.length
      ? table(
          "Calibrations of the runs",
          [["Run", true], ["Class"], ["Machine"], ["A call", true], ["A multiply-accumulate", true], ["A byte", true], ["Error of the fit", true]],
          calibrations.map(({ run, calibration: c }) => [run, c.arithmetic, c.machine, `${c.seconds_per_call.toExponential(2)} s`, `${c.seconds_per_mac.toExponential(2)} s`, `${c.seconds_per_byte.toExponential(2)} s`, percent(c.error)]),
        )
      : h("p", { className: "dim" }, "No run of this store has a calibration: its tasks train no networks."),
  );
}

fill($("#machine"), meters, host);
sample();
setInterval(sample, EVERY_MS);
// A short time after the first, so that CPU is known soon.
setTimeout(sample, 400);
store();
follow(["evaluations", "events", "signed"], store, 4000);
addEventListener("eqmesh:node", node);
