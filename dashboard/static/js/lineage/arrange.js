// The layout of `dashboard/lineage_layout.py` for a file that has no server: the same passes, the same numbers. Pure.

import { LIVING } from "./model.js";

const WEDGES = 1.0;
const SHORTEST = 1 / 12;

/** `{y, height}` of births by first parents and standings; `extinct` is "hidden", "wedges" or "full". */
export function arrange(p1, standing, extinct) {
  const n = p1.length;
  const kept = new Uint8Array(n);
  for (let i = 0; i < n; i++) if (standing[i] & LIVING) for (let at = i; at >= 0 && !kept[at]; at = p1[at]) kept[at] = 1;
  const room = rooms(p1, standing, kept, extinct);
  const whole = Float64Array.from(room);
  for (let i = n - 1; i >= 0; i--) if (p1[i] >= 0) whole[p1[i]] += whole[i];
  const y = new Float32Array(n);
  const free = new Float64Array(n);
  let end = 0;
  for (let i = 0; i < n; i++) {
    const parent = p1[i];
    const begin = parent < 0 ? end : free[parent];
    if (parent < 0) end += whole[i];
    else free[parent] = begin + whole[i];
    free[i] = begin + room[i];
    y[i] = begin + whole[i] / 2;
  }
  return { y, height: end };
}

function rooms(p1, standing, kept, extinct) {
  const n = p1.length;
  const childless = new Uint8Array(n).fill(1);
  for (let i = 0; i < n; i++) if (p1[i] >= 0 && (kept[i] || !kept[p1[i]])) childless[p1[i]] = 0;
  for (let i = 0; i < n; i++) if (standing[i] & LIVING) childless[i] = 1;
  if (extinct === "full") return Float64Array.from(childless);
  const room = Float64Array.from(childless, (leaf, i) => (leaf && kept[i] ? 1 : 0));
  if (extinct === "wedges") giveWedges(room, p1, kept, childless);
  return room;
}

function giveWedges(room, p1, kept, childless) {
  const n = p1.length;
  const [size, leaves] = [new Int32Array(n), new Int32Array(n)];
  const last = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i >= 0; i--) {
    if (kept[i]) continue;
    size[i]++;
    leaves[i] += childless[i];
    const parent = p1[i];
    if (parent < 0 || kept[parent]) continue;
    size[parent] += size[i];
    leaves[parent] += leaves[i];
    last[parent] = Math.max(last[parent], last[i]);
  }
  const part = new Float64Array(n);
  let total = 0;
  for (let i = 0; i < n; i++) {
    if (kept[i]) continue;
    if (p1[i] >= 0 && !kept[p1[i]]) {
      part[i] = part[p1[i]];
      continue;
    }
    const height = (2 * size[i]) / Math.max(last[i] - i, n * SHORTEST);
    total += height;
    part[i] = height / leaves[i];
  }
  if (!total) return;
  const alive = room.reduce((sum, one) => sum + one, 0);
  const scale = alive ? (WEDGES * alive) / total : n / total;
  for (let i = 0; i < n; i++) if (childless[i] && !kept[i]) room[i] = part[i] * scale;
}
