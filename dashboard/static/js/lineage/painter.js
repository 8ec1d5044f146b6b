// Paints a tree on a 2D context. Layout is the server's; what is dropped here is what would be smaller than a pixel.

import { LIVING } from "./model.js";

const FULL = 40; // pixels that a clade must cover to be drawn birth by birth
const LEAST_AREA = 1.5; // square pixels below which a wedge is not seen
const MOST_FULL = 30_000; // births of extinct clades drawn at once
const AXIS = 21; // pixels of the numbers at the top
const DIMMED = 0.12;
const THICK = 1.35; // pixels of a branch
const ROUNDED = 250; // branches up to which corners are round

/** Screen places of births under a camera: `{x(i), y(i)}`. */
export function places(model, camera) {
  return {
    x: (i) => (model.birth[i] - camera.x) * camera.sx,
    y: (i) => (model.y[i] - camera.y) * camera.sy,
  };
}

/** The clades that a camera sees, apart by how they are drawn: `wedges` and `full`. */
export function seenClades(model, camera, size, choice) {
  const wedges = [];
  const full = [];
  let births = 0;
  if (choice.extinct === "hidden") return { wedges, full };
  for (const root of model.clades) {
    if (model.birth[root] > choice.to) break;
    const x0 = (model.birth[root] - camera.x) * camera.sx;
    const x1 = (Math.min(model.birth[model.last[root]], choice.to) - camera.x) * camera.sx;
    if (x1 < 0 || x0 > size.width) continue;
    const top = (model.low[root] - camera.y) * camera.sy;
    const bottom = (model.high[root] - camera.y) * camera.sy;
    if (bottom < 0 || top > size.height) continue;
    const large = choice.extinct === "full" || (bottom - top >= FULL && x1 - x0 >= FULL / 2);
    if (large && births + model.size[root] <= MOST_FULL) {
      full.push(root);
      births += model.size[root];
    } else if ((x1 - x0) * (bottom - top) >= 2 * LEAST_AREA) wedges.push(root);
  }
  return { wedges, full };
}

/** The births to draw one by one: the kept, and those of the clades in `full`; only what may touch the screen. */
export function seenBirths(model, camera, size, choice, full) {
  const found = [];
  const left = camera.x;
  const right = camera.x + size.width / camera.sx;
  const top = camera.y - 8 / camera.sy;
  const bottom = camera.y + (size.height + 8) / camera.sy;
  const { birth, y, p1 } = model;
  const look = (i) => {
    if (birth[i] > choice.to || birth[i] < choice.from || birth[i] < left) return;
    const parent = p1[i] >= 0 ? p1[i] : i;
    if (birth[parent] > right || Math.max(y[i], y[parent]) < top || Math.min(y[i], y[parent]) > bottom) return;
    found.push(i);
  };
  model.keptList.forEach(look);
  const waiting = [...full];
  while (waiting.length) {
    const i = waiting.pop();
    look(i);
    for (let k = model.begin[i]; k < model.begin[i + 1]; k++) waiting.push(model.children[k]);
  }
  return found;
}

/**
 * Paint the tree; gives the births and clades that were painted, for picking.
 *
 * `choice` is {extinct, from, to, mask, crossings}: `mask` (a byte for each birth, or null) says which stay bright.
 */
export function paintTree(context, model, camera, size, colours, theme, choice) {
  context.clearRect(0, 0, size.width, size.height);
  paintGrid(context, camera, size, theme);
  const { wedges, full } = seenClades(model, camera, size, choice);
  paintWedges(context, model, camera, colours, choice, wedges);
  const births = seenBirths(model, camera, size, choice, full);
  paintBranches(context, model, camera, colours, choice, births);
  if (choice.crossings) paintCrossings(context, model, camera, theme, births.filter((i) => !choice.mask || choice.mask[i]));
  paintTips(context, model, camera, size, colours, theme, choice, births);
  paintAxis(context, camera, size, theme);
  return { births, wedges };
}

function ticks(camera, size) {
  const step = nice((size.width / camera.sx) * (90 / size.width));
  const found = [];
  const last = camera.x + size.width / camera.sx;
  for (let at = Math.max(0, Math.ceil(camera.x / step)) * step; at < last; at += step) found.push([at, (at - camera.x) * camera.sx]);
  return found;
}

function paintGrid(context, camera, size, theme) {
  context.strokeStyle = theme.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const [, x] of ticks(camera, size)) {
    context.moveTo(Math.round(x) + 0.5, AXIS);
    context.lineTo(Math.round(x) + 0.5, size.height);
  }
  context.stroke();
}

// Last, over whatever of the tree has come up to it.
function paintAxis(context, camera, size, theme) {
  context.fillStyle = theme.bg;
  context.globalAlpha = 0.85;
  context.fillRect(0, 0, size.width, AXIS);
  context.globalAlpha = 1;
  context.fillStyle = theme.faint;
  context.textAlign = "center";
  context.font = `11px ${theme.font}`;
  for (const [at, x] of ticks(camera, size)) if (x > 20) context.fillText(at.toLocaleString("en"), x, 14);
}

/** The next 1, 2 or 5 times a power of ten at or above a step; at least 1. */
export function nice(step) {
  const power = 10 ** Math.floor(Math.log10(Math.max(step, 1)));
  return [1, 2, 5, 10].find((k) => k * power >= step) * power;
}

const bright = (choice, i) => !choice.mask || choice.mask[i] === 1;

/** Indices by bucket of colour, the bright and the dimmed apart. */
function sorted(colours, choice, indices) {
  const groups = new Map();
  for (const i of indices) {
    const key = colours.bucket[i] * 2 + (bright(choice, i) ? 0 : 1);
    const group = groups.get(key);
    if (group) group.push(i);
    else groups.set(key, [i]);
  }
  return groups;
}

function paintWedges(context, model, camera, colours, choice, wedges) {
  for (const [key, group] of sorted(colours, choice, wedges)) {
    const paint = colours.paints[key >> 1];
    context.fillStyle = paint.colour;
    context.globalAlpha = (key & 1 ? DIMMED : 0.5) * paint.alpha;
    for (const root of group) {
      const x0 = (model.birth[root] - camera.x) * camera.sx;
      const x1 = (Math.min(model.birth[model.last[root]], choice.to) - camera.x) * camera.sx;
      const top = (model.low[root] - camera.y) * camera.sy;
      const bottom = (model.high[root] - camera.y) * camera.sy;
      // A small triangle and a box of its area look the same, and a box is painted several times as fast.
      if (bottom - top < 3) {
        context.fillRect(x0, (top + bottom) / 2 - (bottom - top) / 4, x1 - x0, (bottom - top) / 2);
        continue;
      }
      context.beginPath();
      context.moveTo(x0, (top + bottom) / 2);
      context.lineTo(x1, top);
      context.lineTo(x1, bottom);
      context.fill();
    }
  }
  context.globalAlpha = 1;
}

/** From a parent along its birth to a child's lane, then along that lane. */
export function elbow(context, x0, y0, x1, y1) {
  context.moveTo(x0, y0);
  const round = Math.min(5, Math.abs(y1 - y0), x1 - x0);
  if (round < 2) {
    context.lineTo(x0, y1);
  } else {
    context.lineTo(x0, y1 + (y0 > y1 ? round : -round));
    context.quadraticCurveTo(x0, y1, x0 + round, y1);
  }
  context.lineTo(x1, y1);
}

function paintBranches(context, model, camera, colours, choice, births) {
  const at = places(model, camera);
  context.lineJoin = "round";
  context.lineWidth = THICK;
  const few = births.length <= ROUNDED;
  for (const [key, group] of sorted(colours, choice, births)) {
    const paint = colours.paints[key >> 1];
    context.strokeStyle = context.fillStyle = paint.colour;
    context.globalAlpha = key & 1 ? DIMMED : paint.alpha;
    if (few) context.beginPath();
    for (const i of group) {
      const parent = model.p1[i];
      if (parent < 0 || model.birth[parent] < choice.from) continue;
      if (few) elbow(context, at.x(parent), at.y(parent), at.x(i), at.y(i));
      else corner(context, at.x(parent), at.y(parent), at.x(i), at.y(i));
    }
    if (few) context.stroke();
  }
  context.globalAlpha = 1;
}

// The same way as `elbow` in two boxes: without a GPU they are painted many times as fast as one path of a thousand lines.
function corner(context, x0, y0, x1, y1) {
  if (Math.abs(y1 - y0) > 0.5) context.fillRect(x0 - THICK / 2, Math.min(y0, y1), THICK, Math.abs(y1 - y0));
  context.fillRect(x0, y1 - THICK / 2, x1 - x0, THICK);
}

/** Edges from second parents, dashed: to those of `births` that have one. */
export function paintCrossings(context, model, camera, theme, births) {
  const at = places(model, camera);
  context.save();
  context.setLineDash([3, 3]);
  context.strokeStyle = theme.dim;
  context.lineWidth = 1;
  context.globalAlpha = births.length > 200 ? 0.35 : 0.9;
  context.beginPath();
  for (const i of births) {
    const second = model.p2[i];
    if (second < 0) continue;
    const [x0, y0, x1, y1] = [at.x(second), at.y(second), at.x(i), at.y(i)];
    context.moveTo(x0, y0);
    context.bezierCurveTo(x1, y0, x1, y0, x1, y1);
  }
  context.stroke();
  context.restore();
}

function paintTips(context, model, camera, size, colours, theme, choice, births) {
  const at = places(model, camera);
  const { standings } = model.told;
  const [failed, fresh, baseline] = ["failed", "fresh", "baseline"].map((name) => standings.indexOf(name));
  const dense = births.length > 4000;
  const groups = new Map();
  for (const i of births) {
    const standing = model.standing[i] & ~LIVING;
    const living = (model.standing[i] & LIVING) !== 0;
    const marked = living || standing === baseline || (!dense && standing === failed);
    if (!marked && (camera.sx <= 8 || dense)) continue;
    const [x, y] = [at.x(i), at.y(i)];
    if (x < -8 || x > size.width + 8 || y < -8 || y > size.height + 8) continue;
    const kind = standing === failed ? "cross" : standing === baseline ? "box" : !living ? "dot" : standing === fresh ? "filled" : "hollow";
    const key = `${kind} ${colours.bucket[i]} ${bright(choice, i) ? 1 : DIMMED}`;
    const group = groups.get(key);
    if (group) group.push(x, y);
    else groups.set(key, [x, y]);
  }
  for (const [key, points] of groups) {
    const [kind, bucket, alpha] = key.split(" ");
    context.globalAlpha = Number(alpha);
    stamp(context, kind, points, colours.paints[bucket].colour, theme.bg);
  }
  context.globalAlpha = 1;
}

const STAMP = 12; // pixels of a mark with its edge
const stamps = new Map();

// Marks of one kind, drawn once and stamped: a thousand arcs of a path take ten times as long.
function stamp(context, kind, points, colour, bg) {
  const ratio = context.getTransform().a || 1;
  const key = `${kind} ${colour} ${bg} ${ratio}`;
  let made = stamps.get(key);
  if (!made) {
    if (stamps.size > 200) stamps.clear();
    made = document.createElement("canvas");
    made.width = made.height = Math.ceil(STAMP * ratio);
    const pen = made.getContext("2d");
    pen.scale(ratio, ratio);
    mark(pen, kind, STAMP / 2, STAMP / 2, colour, bg);
    stamps.set(key, made);
  }
  for (let k = 0; k < points.length; k += 2) {
    context.drawImage(made, points[k] - STAMP / 2, points[k + 1] - STAMP / 2, STAMP, STAMP);
  }
}

/** One genome's mark: on the front "filled" after fresh seeds and "hollow" before, "cross" where it failed, "box" for a baseline. */
export function mark(context, kind, x, y, colour, bg) {
  context.strokeStyle = colour;
  context.lineWidth = 1.6;
  context.beginPath();
  if (kind === "cross") {
    context.moveTo(x - 2.5, y - 2.5);
    context.lineTo(x + 2.5, y + 2.5);
    context.moveTo(x + 2.5, y - 2.5);
    context.lineTo(x - 2.5, y + 2.5);
  } else if (kind === "box") context.rect(x - 3, y - 3, 6, 6);
  else context.arc(x, y, kind === "dot" ? 1.8 : 3.6, 0, 7);
  if (kind !== "cross") {
    context.fillStyle = kind === "hollow" ? bg : colour;
    context.fill();
  }
  if (kind !== "dot") context.stroke();
}

/**
 * What is chosen, on a canvas of its own above the tree: the line with its second parents and gene changes, the birth
 * itself, and the one under the pointer. `line` is from the youngest back; `labels` maps births to a text.
 */
export function paintChoice(context, model, camera, size, theme, { line, hover, labels, found }) {
  context.clearRect(0, 0, size.width, size.height);
  const at = places(model, camera);
  if (line.length) {
    paintCrossings(context, model, camera, theme, line);
    for (const [width, colour] of [[6, theme.bg], [2.6, theme.text]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.lineJoin = "round";
      context.beginPath();
      for (const i of line) if (model.p1[i] >= 0) elbow(context, at.x(model.p1[i]), at.y(model.p1[i]), at.x(i), at.y(i));
      context.stroke();
    } // prettier-ignore
    paintChanges(context, line, labels, at, size, theme);
    ring(context, at.x(line[0]), at.y(line[0]), 6, theme.text, theme.bg);
  }
  for (const i of found) ring(context, at.x(i), at.y(i), 4.5, theme.accent, theme.bg);
  if (hover >= 0) ring(context, at.x(hover), at.y(hover), 5, theme.accent, theme.bg);
}

function ring(context, x, y, radius, colour, bg) {
  for (const [width, paint] of [[4, bg], [2, colour]]) {
    context.lineWidth = width;
    context.strokeStyle = paint;
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.stroke();
  } // prettier-ignore
}

function paintChanges(context, line, labels, at, size, theme) {
  const shown = line.filter((i) => {
    const [x, y] = [at.x(i), at.y(i)];
    return labels.has(i) && x >= 0 && x <= size.width && y >= 0 && y <= size.height;
  });
  for (const i of shown) diamond(context, at.x(i), at.y(i), theme);
  const taken = [];
  context.font = `11px ${theme.font}`;
  context.textAlign = "left";
  for (const i of shown) {
    const [x, y] = [at.x(i), at.y(i)];
    const w = context.measureText(labels.get(i)).width + 14;
    const box = { x: Math.max(2, Math.min(x - w + 4, size.width - w - 2)), y: y < 45 ? y + 10 : y - 29, w };
    const near = (other) => box.x < other.x + other.w + 6 && other.x < box.x + box.w + 6 && Math.abs(box.y - other.y) < 22;
    if (taken.some(near)) continue;
    taken.push(box);
    label(context, labels.get(i), box, theme);
  }
}

function diamond(context, x, y, theme) {
  context.save();
  context.translate(x, y);
  context.rotate(Math.PI / 4);
  context.fillStyle = theme.bg;
  context.strokeStyle = theme.text;
  context.lineWidth = 1.6;
  context.fillRect(-3, -3, 6, 6);
  context.strokeRect(-3, -3, 6, 6);
  context.restore();
}

function label(context, text, box, theme) {
  context.fillStyle = theme.raise;
  context.strokeStyle = theme.line2;
  context.lineWidth = 1;
  context.beginPath();
  context.roundRect(box.x, box.y, box.w, 19, 5);
  context.fill();
  context.stroke();
  context.fillStyle = theme.text;
  context.fillText(text, box.x + 7, box.y + 13.5);
}
