// Ids, times and shares in words. Pure, but for the links.

import { h } from "./dom.js";
import { withRun } from "./state.js";

/** The first digits of a genome's or claim's id: enough to name it in a store. */
export const short = (id) => id.slice(0, 12);

/** A peer's id by its end, which tells peers apart; all of them begin alike. */
export const shortPeer = (peer) => (peer.length > 14 ? `…${peer.slice(-10)}` : peer);

/** A time in seconds since 1970 as date and time of this browser. */
export const when = (seconds) =>
  seconds === null || seconds === undefined ? "–" : new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"]];

/** A span of seconds, in its largest unit. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  for (const [size, name] of UNITS) if (seconds >= size) return `${(seconds / size).toFixed(seconds < 10 * size ? 1 : 0)} ${name}`;
  return seconds >= 1 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : `${(1000 * seconds).toPrecision(2)} ms`;
}

/** How long ago a time was, for a page that was asked for at `now`. */
export const ago = (seconds, now) => (seconds === null || seconds === undefined ? "–" : now - seconds < 1 ? "now" : `${span(now - seconds)} ago`);

/** A chance or share in percent. */
export const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(share > 0.995 && share < 1 ? 2 : 1)} %`);

/** A gene's value as it is written. */
export const geneText = (value) => (value === null || value === undefined ? "–" : String(value));

/** A link to a genome's page. */
export const genomeLink = (id, text = short(id)) => h("a", { href: withRun(`/genome/${id}`), className: "mono", title: id }, text);

/** A link to a peer's page. */
export const peerLink = (peer, text = shortPeer(peer)) => h("a", { href: withRun(`/peer/${peer}`), className: "mono", title: peer }, text);

const LOOKS = {
  front: "good", confirmed: "good", trusted: "good", finished: "good", running: "good", held: "good", attestation: "good",
  failed: "bad", refused: "bad", banned: "bad", accusation: "bad",
  provisional: "warn", quarantined: "warn", stopped: "warn", newcomer: "warn",
  baseline: "info", own: "info", self: "info",
};

/** A standing as a small label; the word says it, the colour helps. */
export const tag = (word) => h("span", { className: `tag ${LOOKS[word] ?? ""}` }, word);

/** A table from a header of `[name, isNumber]` and rows of cells (text or elements). */
export function table(label, header, rows) {
  const head = header.map(([name, number]) => h("th", { scope: "col", className: number ? "num" : null }, name));
  const body = rows.map((row) => h("tr", {}, row.map((cell, at) => h("td", { className: header[at]?.[1] ? "num" : null }, cell))));
  return h("div", { className: "scroll", tabindex: 0, role: "region", "aria-label": label }, h("table", {}, h("caption", { className: "sr" }, label), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** A panel of a page that is made here: `{element, body, actions}`. */
export function panel(title, sub = "", className = "") {
  const id = `p-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  const body = h("div", { className: "body" });
  const actions = h("span", {});
  const words = h("span", { className: "sub" }, sub);
  const element = h("section", { className: `panel ${className}`, "aria-labelledby": id }, h("header", {}, h("h2", { id }, title), words, h("span", { className: "sp" }), actions), body);
  return { element, body, actions, words };
}

/** What a page says when a question failed: what went wrong, and what to do. */
export const trouble = (error) =>
  h("div", { className: "none", role: "alert" }, h("p", {}, error.message), error.next ? h("p", { className: "dim" }, error.next) : null);
