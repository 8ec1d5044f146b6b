// How a network settles: energy and largest change of a state by sweep, free phase and nudged phase, with a slider.

import { fill, h } from "../dom.js";
import { line } from "./line.js";
import { format } from "./scale.js";

const VERDICTS = {
  converged: "It settles.",
  oscillating: "It swings without end.",
  diverged: "It runs away.",
  unsettled: "It had not settled when its sweeps were used up.",
};

/** Whether a record of settling (evaluator's `Settling`) holds any trace. */
export const hasTrace = (settling) =>
  Boolean(settling && [settling.free_residual, settling.free_energy, settling.nudged_energy, settling.nudged_residual].some((one) => one?.some((v) => v !== 0)));

/** What the record says of the network in words. */
export function verdictOf(settling) {
  if (!settling || settling.verdict === "none") return "Nothing settles here: a prediction takes no sweeps.";
  const period = settling.period > 0 ? ` Period ${settling.period}.` : "";
  return `${VERDICTS[settling.verdict] ?? settling.verdict}${period} Mean sweeps: ${format(settling.free_steps)} free, ${format(settling.nudged_steps)} nudged.`;
}

/**
 * Energy and residual of one network's settling in `host`, phases shaded, with a slider over the sweeps. `settling` is the
 * record's; `menu` takes the copy menu. Gives `{end}`, or null where no trace is recorded, and then says so.
 */
export function relaxation(host, settling, { menu = null, height = 150 } = {}) {
  if (!hasTrace(settling)) {
    menu?.replaceChildren();
    fill(host, h("p", { className: "empty" }, verdictOf(settling)));
    return null;
  }
  const free = settling.free_residual.length;
  const nudged = settling.nudged_residual.length;
  const shades = [{ from: 0, to: free, label: "free" }];
  if (nudged) shades.push({ from: free, to: free + nudged, label: "nudged" });
  // A trace of energies begins with the start, before the first sweep; one of changes with the first sweep.
  const places = (phase, field) => {
    const values = settling[`${phase}_${field}`];
    const first = settling[`${phase}_residual`].length - values.length + 1 + (phase === "nudged" ? free : 0);
    return values.map((_, i) => first + i);
  };
  const series = (field) =>
    [
      { label: "free", x: places("free", field), y: settling[`free_${field}`], colour: "c1", points: free < 60 },
      { label: "nudged", x: places("nudged", field), y: settling[`nudged_${field}`], colour: "c3", dash: [6, 3], points: nudged < 60 },
    ].filter((one) => one.x.length);
  const [energyHost, residualHost] = [h("div"), h("div")];
  const told = h("p", { className: "readout", "aria-live": "polite" });
  const slider = h("input", { type: "range", min: 0, max: free + nudged, step: 1, value: 0, "aria-label": "Sweep" });
  fill(
    host,
    h("h3", null, "Energy"), energyHost,
    h("h3", null, "Largest change of a state (log)"), residualHost,
    h("label", { className: "slide" }, h("span", null, "Sweep"), slider), told,
    h("p", { className: "dim" }, verdictOf(settling)),
  );
  const silent = () => "";
  const x = { label: "sweep", unit: "", whole: true, range: [0, Math.max(1, free + nudged)] };
  const energy = line(energyHost, { name: "energy", label: "Energy by sweep", series: series("energy"), x, y: { label: "energy", unit: "" }, shades, height, menu, words: silent });
  const positive = series("residual").map((one) => ({ ...one, y: one.y.map((v) => (v > 0 ? v : NaN)) }));
  const residual = line(residualHost, { name: "residual", label: "Largest change of a state by sweep", series: positive, x, y: { label: "largest change", unit: "", log: true }, shades, height, words: silent, legend: false });

  function show() {
    const step = Number(slider.value);
    const phase = step <= free ? "free" : "nudged";
    const at = (field) => settling[`${phase}_${field}`][places(phase, field).indexOf(step)];
    told.textContent = `Sweep ${step}, ${phase} phase: energy ${format(at("energy"), "", 4)}, largest change ${format(at("residual"), "", 3)}`;
    energy.cursorAt(step);
    residual.cursorAt(step);
  }
  slider.addEventListener("input", show);
  show();
  return {
    end() {
      energy.end();
      residual.end();
    },
  };
}
