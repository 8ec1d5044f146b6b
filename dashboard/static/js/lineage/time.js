// Time below the tree: founder shares, the window with its sliders, playing it, and objectives along the chosen line.

import { fill, h, icon, still } from "../dom.js";
import { founderShares, paintStreams, paintStrip } from "./streams.js";

const PLAY_MS = 9000;

/** The strip below the tree: founder shares, the time window, and play. `repaint()` paints the view, `window()` gives {from, to}. */
export function scrubber(view, chosen, { repaint, window }) {
  const { world, host } = view;
  const canvas = h("canvas", { "aria-hidden": "true" });
  const slider = (label, name, value) =>
    h("label", {}, h("span", { className: "sr" }, label), h("input", {
      type: "range", min: world.birth0, max: world.birth1, value, "aria-label": label,
      oninput: (event) => { view.played = name === "to" ? Number(event.target.value) : view.played; view.stage.paint(); },
      onchange: (event) => { view.played = null; host.setParam(name, Number(event.target.value) === world[name === "to" ? "birth1" : "birth0"] ? null : event.target.value); },
    })); // prettier-ignore
  const label = view.playing ? "Pause" : "Play history";
  const button = h("button", { type: "button", className: "btn ic", "aria-label": label, title: label, onclick: () => play(view, button, repaint) }, icon(view.playing ? "pause" : "play"));
  fill(
    view.parts.scrub,
    button,
    h("div", { className: "tr" }, canvas, slider("Window from birth", "from", chosen.from), slider("Window to birth", "to", chosen.to)),
    h("span", { className: "faint" }, "Founder shares", h("br"), `births ${chosen.from.toLocaleString("en")} to ${chosen.to.toLocaleString("en")}`),
  );
  view.scrub = canvas;
  paintScrub(view, window());
}

function play(view, button, repaint) {
  if (view.playing) {
    view.playing = false;
    return;
  }
  view.playing = true;
  fill(button, icon("pause"));
  button.setAttribute("aria-label", "Pause");
  const { birth0, birth1 } = view.world;
  const begun = performance.now();
  const step = () => {
    const part = (performance.now() - begun) / PLAY_MS;
    if (!view.playing || part >= 1) {
      view.playing = false;
      view.played = null;
      fill(button, icon("play"));
      button.setAttribute("aria-label", "Play history");
      repaint();
      return;
    }
    view.played = birth0 + (birth1 - birth0) * part;
    repaint();
    // Less motion: two pictures a second instead of all of them.
    if (still()) setTimeout(step, 500);
    else requestAnimationFrame(step);
  };
  step();
}

/** A canvas as large as its box in the device's pixels, cleared: its context and size, or null while it is not shown. */
export function sized(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width || !height) return null;
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height };
}

function shares(view, most) {
  // A handful of births makes a comb of as many bins.
  const bins = Math.max(2, Math.min(most, Math.round(view.model.n / 6)));
  if (view.sharesOf !== view.model || view.shareBins !== bins) {
    view.shares = founderShares(view.model, bins);
    [view.sharesOf, view.shareBins] = [view.model, bins];
  }
  return view.shares;
}

const streamPaints = (view) => [...view.painted.series.slice(0, 6), view.theme.line2].slice(0, 7);

function paintsFor(view, found) {
  const all = streamPaints(view);
  return [...all.slice(0, found.order.length), all.at(-1)];
}

/** Paint founder shares on a canvas, in at most `most` steps of time, `edge` pixels from its top and bottom. */
export function paintShares(view, { context, width, height }, most, edge) {
  const found = shares(view, Math.min(400, most));
  paintStreams(context, { x: 0, y: edge, w: width, h: height - 2 * edge }, found, paintsFor(view, found));
}

/** Paint founder shares over all of time, dimmed outside the window `{from, to}`. */
export function paintScrub(view, { from, to }) {
  const got = sized(view.scrub);
  if (!got || !view.model.n) return;
  paintShares(view, got, 160, 4);
  const x = (birth) => ((birth - view.world.birth0) / Math.max(1, view.world.birth1 - view.world.birth0)) * got.width;
  got.context.fillStyle = view.theme.bg;
  got.context.globalAlpha = 0.7;
  got.context.fillRect(0, 0, x(from), got.height);
  got.context.fillRect(x(to), 0, got.width, got.height);
}

/** Paint the first three objectives along the chosen line. */
export function strips(view, format) {
  const { strips: canvas } = view.parts;
  canvas.hidden = !view.detail || view.detail.line.length < 2;
  if (canvas.hidden) return;
  const got = sized(canvas);
  if (!got) return;
  const line = [...view.detail.line].reverse();
  const objectives = view.told.objectives.slice(0, 3);
  const wide = (got.width - 20 * (objectives.length - 1) - 28) / objectives.length;
  const [from, to] = [line[0].born, line.at(-1).born];
  objectives.forEach((objective, k) => {
    const box = { x: 14 + k * (wide + 20), y: 4, w: wide, h: got.height - 8 };
    const steps = line.map((step) => ({ x: box.x + ((step.born - from) / Math.max(1, to - from)) * box.w, value: step.values[objective.name] }));
    paintStrip(got.context, box, steps, {
      log: objective.scale === "log", colour: view.painted.series[k], theme: view.theme, label: objective.name,
      text: (value) => format(view, objective.name, value),
    }); // prettier-ignore
  });
}
