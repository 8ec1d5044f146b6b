// The legend of marks: shape and colour with their words.

import { h } from "../dom.js";
import { MARKS } from "./pen.js";

/** A legend of the kinds that occur: `counts` is `{kind: n}`. */
export const legendOf = (counts) =>
  Object.entries(MARKS)
    .filter(([kind]) => counts[kind])
    .map(([kind, words]) => h("span", null, h("i", { className: `m ${kind}` }), `${words} ${counts[kind].toLocaleString("en")}`));

/** The mark alone, for a row of a table, with its words for screen readers. */
export const markOf = (kind) => [h("i", { className: `m ${kind}`, "aria-hidden": "true" }), h("span", { className: "sr" }, `${MARKS[kind]} `)];
