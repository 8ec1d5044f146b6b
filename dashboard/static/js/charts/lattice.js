// A network that is a cube of units, drawn as its cells and the links to their 26 neighbours; dragging turns it.

import { projection, turnable } from "./scatter3d.js";
import { placeOf, surface } from "./surface.js";
import { seriesColour } from "./theme.js";

const MOST_LINKED = 6;
const MOST_FULL = 10;
const REACH = 12;

/** The cells of a cube of this side; of a large one its outer faces alone. Each is `{x, y, z, group}`, group 0 to 7. */
export function cells(side) {
  const found = [];
  const outer = (v) => v === 0 || v === side - 1;
  for (let x = 0; x < side; x++) {
    for (let y = 0; y < side; y++) {
      for (let z = 0; z < side; z++) {
        if (side > MOST_FULL && !outer(x) && !outer(y) && !outer(z)) continue;
        // Cells of one parity of all coordinates are no neighbours: they settle at once.
        found.push({ x, y, z, group: (x % 2) * 4 + (y % 2) * 2 + (z % 2) });
      }
    }
  }
  return found;
}

/** How many cells a cell is linked to: those at most one step away along every axis. */
export const neighbours = ({ x, y, z }, side) => {
  const along = (v) => 1 + (v > 0) + (v < side - 1);
  return along(x) * along(y) * along(z) - 1;
};

/** All links of a cube of this side, as pairs of places in `cells(side)`. */
export function links(found) {
  const at = new Map(found.map((cell, i) => [`${cell.x},${cell.y},${cell.z}`, i]));
  const pairs = [];
  found.forEach((cell, i) => {
    for (let dx = -1; dx <= 1; dx++)
      for (let dy = -1; dy <= 1; dy++)
        for (let dz = -1; dz <= 1; dz++) {
          const other = at.get(`${cell.x + dx},${cell.y + dy},${cell.z + dz}`);
          if (other > i) pairs.push([i, other]);
        }
  });
  return pairs;
}

/** Draw the cube of `side` in `host`. Gives the surface. */
export function lattice(host, side, { menu = null } = {}) {
  const found = cells(side);
  const pairs = side <= MOST_LINKED ? links(found) : [];
  const view = { turn: 0.6, tilt: 0.42, zoom: 0.8 };
  const scale = (v) => (side === 1 ? 0 : (2 * v) / (side - 1) - 1);
  let hovered = -1;
  let places = [];
  const total = side ** 3;
  const face = (cell) => (cell.z === 0 ? "reads the input" : cell.z === side - 1 ? "is read by the output" : "inside");
  const place = surface(host, {
    name: `cube-${side}`,
    label: `Cube of ${side} by ${side} by ${side} units, each linked to its up to 26 neighbours`,
    height: (width) => Math.min(420, Math.max(260, width * 0.7)),
    keys: "Arrow keys turn the cube, shift with up and down zooms.",
    menu,
    paint,
    twin: () => [["x", "y", "z", "group", "neighbours", "face"], found.map((cell) => [cell.x, cell.y, cell.z, cell.group + 1, neighbours(cell, side), face(cell)])],
  });
  const turning = turnable(place.canvas, view, place.draw);
  const resting = `${total} units in 8 groups that settle in turn${pairs.length ? `, ${pairs.length} links` : ""}${found.length < total ? "; the outer faces are drawn" : ""}${side > MOST_LINKED ? "; links are drawn for the unit under the pointer" : ""}.`;
  place.readout.textContent = resting;

  function paint(pen, { width, height, colour }) {
    const to = projection(view, width, height, view.zoom);
    places = found.map((cell) => to(scale(cell.x), scale(cell.y), scale(cell.z)));
    const dim = side <= 3 ? 0.5 : side <= 4 ? 0.32 : 0.16;
    for (const [a, b] of pairs) {
      const lit = a === hovered || b === hovered;
      if (!lit) pen.path([places[a][0], places[a][1], places[b][0], places[b][1]], { stroke: colour.faint, alpha: hovered < 0 ? dim : dim / 2 });
    }
    if (hovered >= 0) {
      const here = found[hovered];
      found.forEach((cell, i) => {
        if (i !== hovered && Math.max(Math.abs(cell.x - here.x), Math.abs(cell.y - here.y), Math.abs(cell.z - here.z)) === 1)
          pen.path([places[hovered][0], places[hovered][1], places[i][0], places[i][1]], { stroke: colour.accent, width: 1.5 });
      });
    }
    const order = found.map((_, i) => i).sort((a, b) => places[b][2] - places[a][2]);
    const size = Math.max(2, Math.min(9, 34 / side)) * view.zoom;
    for (const i of order) {
      const [x, y, depth] = places[i];
      const fill = found[i].group === 7 ? colour.dim : seriesColour(colour, found[i].group);
      const radius = Math.max(1.5, size * (1 - depth * 0.12));
      pen.circle(x, y, radius, { fill, stroke: i === hovered ? colour.text : colour.panel, width: i === hovered ? 2 : 1 });
    }
    const [inputs, outputs] = [to(0, 0, -1.28), to(0, 0, 1.28)];
    pen.text("input", inputs[0], inputs[1] + 4, { fill: colour.dim, align: "middle" });
    pen.text("output", outputs[0], outputs[1] + 4, { fill: colour.dim, align: "middle" });
  }

  place.canvas.addEventListener("pointermove", (event) => {
    if (turning()) return;
    const [px, py] = placeOf(event, place.canvas);
    let best = -1;
    let least = Infinity;
    places.forEach(([x, y, depth], i) => {
      const away = Math.hypot(x - px, y - py);
      if (away < REACH && away + depth < least) [best, least] = [i, away + depth];
    });
    if (best === hovered) return;
    hovered = best;
    const cell = found[best];
    place.readout.textContent = cell ? `Unit (${cell.x}, ${cell.y}, ${cell.z}): group ${cell.group + 1}, ${neighbours(cell, side)} neighbours, ${face(cell)}.` : resting;
    place.draw();
  });
  place.canvas.addEventListener("pointerleave", () => {
    hovered = -1;
    place.readout.textContent = resting;
    place.draw();
  });
  return place;
}
