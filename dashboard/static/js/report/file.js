// What an exported file holds, unpacked: columns as the server would send them, and answers to the same questions.

import { arrange } from "../lineage/arrange.js";

const NONE = 0xffff;
const ID_BYTES = 3;

/** Bytes of a number's planes (all lowest bytes, then the next ones) as numbers. */
function planes(bytes, begin, count, width) {
  const found = new Int32Array(count);
  for (let k = 0; k < width; k++) for (let i = 0; i < count; i++) found[i] |= bytes[begin + k * count + i] << (8 * k);
  return found;
}

/** Values that were rounded to steps of their range, NaN where there are none. */
function steps(codes, { least, most, log }) {
  const back = log ? Math.exp : (value) => value;
  return Float32Array.from(codes, (code) => (code === NONE ? NaN : back(least + ((most - least) * code) / (NONE - 1))));
}

/** The source of `lineage/view.js`, and what the other parts show, of a header and the bytes behind it. */
export function openFile(header, bytes) {
  const { count, head, scales } = header;
  const section = (name, width) => planes(bytes, header.sections[name], count, width);
  const parent = (gaps) => gaps.map((gap, i) => (gap ? i - gap : -1));
  const p1 = parent(section("p1", 3));
  const p2 = parent(section("p2", 3));
  const birth = new Float32Array(count);
  let born = 0;
  section("birth", 2).forEach((gap, i) => (birth[i] = born += gap));
  const operator = Uint8Array.from(section("operator", 1));
  const standing = Uint8Array.from(section("standing", 1));
  const values = head.objectives.map(({ name }) => steps(section(`value:${name}`, 2), scales[name]));
  const ids = bytes.subarray(header.sections.ids, header.sections.ids + ID_BYTES * count);
  const idOf = (i) => header.details[i]?.id ?? [...ids.subarray(ID_BYTES * i, ID_BYTES * (i + 1))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const columns = { p1, p2, birth, y: null, fitness: values[0] ?? new Float32Array(count).fill(NaN), operator, standing };

  function step(at) {
    const known = header.details[at];
    const exact = header.exact[at];
    return {
      at, id: idOf(at), born: birth[at], operator: head.operators[operator[at]], standing: head.standings[standing[at] & 7],
      parents: [p1[at], p2[at]].filter((i) => i >= 0), summary: known?.summary ?? (known ? "" : "Its genes are not in this file."),
      values: exact ?? Object.fromEntries(head.objectives.map(({ name }, k) => [name, values[k][at]]).filter(([, value]) => !Number.isNaN(value))),
      changes: known?.changes ?? [], second: known?.second ?? [],
    }; // prettier-ignore
  }

  return {
    count, values, idOf, standing, birth, header,
    columns(extinct) {
      const { y, height } = arrange(p1, standing, extinct);
      return { ...head, columns: { ...columns, y }, height, extinct, rows: count, begin: 0, version: 1 };
    },
    detail(place) {
      const line = [];
      for (let i = place; i >= 0; i = p1[i]) line.push(step(i));
      const children = [];
      for (let i = place + 1; i < count; i++) if (p1[i] === place || p2[i] === place) children.push([i, idOf(i)]);
      return { line, left_out: 0, children, count: children.length };
    },
    place(id) {
      const wanted = id.toLowerCase();
      for (let i = 0; i < count; i++) if (idOf(i).startsWith(wanted.slice(0, idOf(i).length))) return { place: i };
      throw new Error(`No genome begins with ${id} in this file.`);
    },
    names: (places) => Object.fromEntries([...places].map((i) => [i, idOf(i)])),
    find() {
      throw new Error("This file has no genes to search. Find a genome by its id, or use eqmesh dashboard serve.");
    },
  }; // prettier-ignore
}
