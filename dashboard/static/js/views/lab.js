// The lab: a form that steers, and what the network does meanwhile.

import { line } from "../charts/line.js";
import { format } from "../charts/scale.js";
import { $, fill, h, icon, still } from "../dom.js";
import { ApiError, getJson } from "../data.js";
import { knobs, parsed } from "../lab/knobs.js";
import { watching } from "../lab/stream.js";
import { well } from "../lab/well.js";
import { bind, toast } from "../shell.js";
import { getParam, onParams, setParam } from "../state.js";
import { percent, trouble } from "../words.js";

const MOST = 1500;
const SEND_MS = 150;
const SETTLE_MS = 1000;
const PACES = [1, 2, 5, 10, 20, 50, 100, 500];
// What the well may show: the usual, and the other.
const DRAWN = { surface: ["E", "F"], around: ["path", "near"] };
const VERDICTS = {
  converged: "It settles.",
  oscillating: "It swings without end.",
  diverged: "It runs away.",
  unsettled: "It has not settled when its sweeps are used up.",
};

let schema = null;
let standard = {};
let settings = {};
let show = () => {};
let points = [];
let latest = null;
let pace = 20;
let paused = false;
let sending = 0;
let sentAt = -Infinity;
let timer = null;
// Whether a frame has come since the stream was opened: the first one decides who follows whom.
let met = false;
let closed = true;
const charts = new Map();

// Orders

async function post(name, body) {
  const answer = await fetch(`/api/lab/${name}`, { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(told.error ?? `The server answered ${answer.status}.`, answer.status, told.next);
}

async function order(name, body) {
  sending += 1;
  try {
    await post(name, body);
    $("#refused").textContent = "";
    return true;
  } catch (error) {
    $("#refused").textContent = error.message;
    return false;
  } finally {
    sending -= 1;
    sentAt = performance.now();
  }
}

function changed(name, value, problem) {
  if (problem) {
    $("#refused").textContent = problem;
    return;
  }
  settings = { ...settings, [name]: value };
  show(settings);
  keep();
  clearTimeout(timer);
  timer = setTimeout(() => {
    timer = null;
    order("set", { settings });
  }, SEND_MS);
}

const restart = () => order("restart", { settings });

async function setPace({ once = false } = {}) {
  if (!(await order("pace", { steps_per_s: paused ? 0 : pace, once }))) toast($("#refused").textContent, "bad");
  furnishOrders();
}

function togglePause() {
  paused = !paused;
  setPace();
}

/** What is chosen, in the address: what differs from the standard alone. */
function keep() {
  const params = Object.fromEntries(Object.keys(schema).map((name) => [name, settings[name] === standard[name] ? null : String(settings[name])]));
  setParam({ ...params, pace: pace === 20 ? null : pace });
}

function asked() {
  const found = { ...standard };
  for (const [name, one] of Object.entries(schema)) {
    const value = parsed(one, getParam(name, ""));
    if (value !== undefined) found[name] = value;
  }
  return found;
}

const same = (one, other) => Object.keys(schema).every((name) => one[name] === other[name]);

// The row of orders

const pauseButton = h("button", { className: "btn pri", type: "button", onclick: togglePause });
const stepButton = h("button", { className: "btn", type: "button", onclick: () => { paused = true; setPace({ once: true }); } }, "One step");
const restartButton = h("button", { className: "btn", type: "button", onclick: restart }, "Start again");
const paceSlider = h("input", {
  type: "range", min: 0, max: PACES.length - 1, step: 1, id: "pace",
  oninput: () => {
    pace = PACES[Number(paceSlider.value)];
    paused = false;
    keep();
    setPace();
  },
});
const paceWords = h("output", { className: "dim" });
fill($("#orders"), pauseButton, stepButton, restartButton, h("label", {}, "Pace", paceSlider, paceWords));

function furnishOrders() {
  fill(pauseButton, icon(paused ? "play" : "pause"), paused ? "Go on" : "Pause");
  paceSlider.value = String(Math.max(0, PACES.findIndex((one) => one >= pace)));
  paceSlider.setAttribute("aria-valuetext", `at most ${pace} steps a second`);
  paceWords.textContent = `≤ ${pace} steps/s`;
}

function say(words) {
  // A status is read out whenever it is set: only where it says something else.
  if ($("#run-words").textContent !== words) $("#run-words").textContent = words;
}

// What is seen

function take(frames) {
  for (const frame of frames) {
    points = frame.restarted ? [...frame.points] : [...points, ...frame.points];
    while (points.length > MOST) points = points.filter((_, i) => i % 2 === 0 || i === points.length - 1);
    latest = frame;
  }
  follow();
  draw();
}

/** Go along with what the lab does now, unless this page has just asked for something else. */
function follow() {
  if (!met) {
    met = true;
    if (getParam("pace") && latest.steps_per_s !== pace) setPace();
    if (!same(latest.settings, settings)) {
      restart();
      return;
    }
  }
  if (sending || timer || performance.now() - sentAt < SETTLE_MS) return;
  if (!same(latest.settings, settings)) {
    settings = { ...latest.settings };
    keep();
  }
  show(settings);
  paused = latest.steps_per_s === 0;
  if (!paused && latest.steps_per_s !== pace) {
    pace = latest.steps_per_s;
    keep();
  }
  furnishOrders();
}

function chart(name, options) {
  const { series } = options;
  const host = $(`#${name}`);
  const had = charts.get(name);
  if (!series.some((one) => one.x.length)) {
    had?.end();
    charts.delete(name);
    $(`#${name}-menu`).replaceChildren();
    fill(host, h("p", { className: "empty" }, options.none ?? "Nothing to show yet."));
    return;
  }
  if (had) had.update({ series, y: options.y, x: options.x, shades: options.shades ?? [] });
  else {
    fill(host);
    charts.set(name, line(host, { name: `lab-${name}`, menu: $(`#${name}-menu`), height: 150, ...options }));
  }
}

/** The axis and the values of what may grow beyond all bounds: as they are, on a log scale, or as powers of ten. */
function grown(name, values) {
  const found = values.flat().filter((value) => value > 0);
  const [low, high] = [Math.min(...found), Math.max(...found)];
  if (high > 1e12) return { y: { label: `log10 ${name}`, unit: "" }, of: (value) => (value > 0 ? Math.log10(value) : NaN) };
  if (high > 30 * low) return { y: { label: name, unit: "", log: true }, of: (value) => value };
  // What rests at a cap differs in its last digits: these are not what there is to see.
  const tight = high - low < 0.02 * high;
  return { y: { label: name, unit: "", ...(tight && { range: [low - 0.02 * high, high + 0.02 * high] }) }, of: (value) => value };
}

/** Say beside a chart's title what its axis is, where that is not the number itself. */
function unit(name, axis, words) {
  const said = axis.label.startsWith("log10") ? `as powers of ten, ${words}` : words;
  const place = $(`#${name}-title + .sub`);
  if (place.textContent !== said) place.textContent = said;
}

const number = (value) => (value === null || value === undefined ? "not finite" : value >= 1e15 ? value.toExponential(2) : format(value));

function draw() {
  if (!latest) return;
  const x = { label: "step", unit: "", whole: true };
  const steps = points.map((one) => one.step);
  const losses = points.map((one) => one.loss ?? NaN);
  const loss = grown("loss", losses);
  chart("loss", { label: "Training loss by step", x, y: loss.y, series: [{ label: "loss", x: steps, y: losses.map(loss.of), colour: "c1" }], legend: false });
  unit("loss", loss.y, "of each batch, before its step");
  const looked = points.filter((one) => one.accuracy !== null);
  chart("accuracy", { label: "Validation accuracy by step", x, y: { label: "accuracy", unit: "share", range: [0, 1] }, series: [{ label: "accuracy", x: looked.map((one) => one.step), y: looked.map((one) => one.accuracy), colour: "c2" }], legend: false });
  drawNorms(x, steps);
  drawSettling();
  eye.show(latest.landscape, nothing());
  $("#well-words").textContent = latest.landscape
    ? `a ${latest.landscape.label}, read as ${latest.landscape.predicted}; the plane holds ${format(latest.landscape.share, "share")} of the path`
    : "";
  drawNow();
}

const nothing = () =>
  latest.diverged ? "There is no energy left to draw." : latest.settings.rule === "backprop" ? "Backpropagation settles nothing." : "Its numbers are too large to draw.";

function drawNorms(x, steps) {
  const rows = latest.weights.map((label, i) => ({ label, x: steps, y: points.map((one) => one.norms[i] ?? NaN) }));
  const capped = latest.settings.spectral && latest.settings.rule !== "backprop" && rows.length && steps.length > 1;
  if (capped) rows.push({ label: "gamma", x: [steps[0], steps.at(-1)], y: [latest.settings.gamma, latest.settings.gamma], colour: "faint", dash: [4, 4], width: 1.5 });
  const norm = grown("norm", rows.map((row) => row.y));
  for (const row of rows) row.y = row.y.map(norm.of);
  unit("norms", norm.y, "of weights between states");
  chart("norms", { label: "Largest singular value of each weight between states, by step", x, y: norm.y, series: rows, none: "One layer of states: no weight joins two of them." });
}

function drawSettling() {
  const trace = latest.trace;
  const series = [];
  const residuals = [];
  const shades = [];
  if (trace) {
    const free = trace.free_residual.length;
    const along = (values, from) => values.map((_, i) => from + i);
    series.push({ label: "E, free", x: along(trace.free_energy, 0), y: trace.free_energy.map((v) => v ?? NaN), colour: "c1" });
    residuals.push({ label: "free", x: along(trace.free_residual, 1), y: positive(trace.free_residual), colour: "c1" });
    if (trace.nudged_residual.length) {
      series.push({ label: "F, nudged", x: along(trace.nudged_energy, free), y: trace.nudged_energy.map((v) => v ?? NaN), colour: "c3", dash: [6, 3], points: trace.nudged_energy.length < 40 });
      residuals.push({ label: "nudged", x: along(trace.nudged_residual, free + 1), y: positive(trace.nudged_residual), colour: "c3", dash: [6, 3], points: trace.nudged_residual.length < 40 });
    }
    const taken = Math.min(trace.free_steps, free);
    shades.push({ from: 0, to: Math.max(1, taken), label: "free" }, { from: taken, to: free, label: taken < free ? "watched on" : "" }, { from: free, to: free + Math.max(1, trace.nudged_residual.length), label: "nudged" });
  }
  const x = { label: "sweep", unit: "", whole: true };
  chart("energy", { label: "Mean energy of the example batch by sweep", x, y: { label: "energy", unit: "" }, series, shades, none: nothing() });
  chart("residual", { label: "Largest change of a state by sweep", x, y: { label: "largest change", unit: "", log: true }, series: residuals.some((one) => one.y.some(Number.isFinite)) ? residuals : [], shades, none: trace ? "No state moves any more." : nothing() });
  const period = trace?.period ? ` Period ${trace.period}.` : "";
  $("#verdict").textContent = trace ? `largest change of a state by sweep. ${VERDICTS[trace.verdict] ?? trace.verdict}${period}` : "";
}

const positive = (values) => values.map((value) => (value > 0 ? value : NaN));

function drawNow() {
  const last = points.at(-1);
  const accuracy = points.findLast((one) => one.accuracy !== null)?.accuracy;
  const norms = last?.norms ?? [];
  fill(
    $("#now"),
    [
      ["Step", latest.step.toLocaleString("en")],
      ["Loss", last ? number(last.loss) : "–"],
      ["Accuracy", percent(accuracy)],
      ["Largest norm", norms.length ? number(norms.includes(null) ? null : Math.max(...norms)) : "–"],
    ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
  const gone = $("#diverged");
  if (gone.hidden === Boolean(latest.diverged)) {
    gone.hidden = !latest.diverged;
    gone.textContent = latest.diverged ?? "";
  }
  say(latest.diverged ? "It has run away." : paused ? "Paused." : `Training, at most ${pace} steps a second.`);
}

// Beginning

const eye = well($("#well"), { menu: $("#well-menu"), chosen: (name) => (getParam(name) === DRAWN[name][1] ? DRAWN[name][1] : DRAWN[name][0]), choose: (name, value) => setParam(name, value === DRAWN[name][0] ? null : value) });
eye.show(null, "The first relaxation has not come yet.");
const stream = watching({
  seen: take,
  slow: still,
  ended: (why) => over(why),
  lost: () => over("The lab's stream was lost."),
});

function over(why) {
  closed = true;
  say("The lab is closed.");
  const gone = $("#diverged");
  gone.hidden = false;
  fill(gone, `${why} `, h("button", { className: "btn sm", type: "button", onclick: open }, "Open the lab again"));
}

function open() {
  closed = false;
  met = false;
  $("#diverged").hidden = true;
  fill($("#diverged"));
  say("Starting the lab's process, which takes some seconds.");
  stream.open();
}

async function begin() {
  let about;
  try {
    about = await getJson("/api/lab");
  } catch (error) {
    fill($("#knobs"), trouble(error));
    return;
  }
  schema = about.settings;
  standard = Object.fromEntries(Object.entries(schema).map(([name, one]) => [name, one.default]));
  settings = asked();
  pace = PACES.find((one) => String(one) === getParam("pace")) ?? 20;
  show = knobs($("#knobs"), schema, changed);
  show(settings);
  furnishOrders();
  if (!about.allowed) {
    say("");
    fill($("#refused"), "This dashboard can be reached from other machines, and trains nothing for them. Start it with --allow-commands, or open it on its own machine.");
    for (const control of $("#knobs").elements) control.disabled = true;
    for (const control of [pauseButton, stepButton, restartButton, paceSlider]) control.disabled = true;
    return;
  }
  open();
}

bind(" ", "Pause the training, or let it go on", togglePause);
bind(".", "One training step", () => stepButton.click());
bind("r", "Start again from the first weights", restart);
onParams(() => {
  // By the browser's own buttons; what this page puts there itself is what it has.
  if (!schema || same(asked(), settings)) return;
  settings = asked();
  show(settings);
  order("set", { settings });
});
document.addEventListener("visibilitychange", () => {
  if (!schema || closed) return;
  if (document.hidden) stream.close();
  else open();
});
begin();
