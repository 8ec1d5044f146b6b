// The table of peers: what this node makes of each, and why.

import { $, fill, h } from "../dom.js";
import { getJson } from "../data.js";
import { follow } from "../follow.js";
import { chooseRow } from "../rows.js";
import { bind } from "../shell.js";
import { getParam, onParams, setParam, withRun } from "../state.js";
import { ago, peerLink, percent, tag, trouble, when } from "../words.js";
import { reach } from "../reach.js";

const body = $("#rows");
let shown = null;
let selected = 0;

const COLUMNS = [
  { name: "Peer", key: "peer", of: (p) => p.row.peer, cell: (p) => [peerLink(p.row.peer), p.row.me ? h("span", { className: "tag info" }, "this node") : null] },
  { name: "Standing", key: "standing", of: (p) => p.row.standing, cell: (p) => tag(p.row.standing) },
  { name: "Why", key: "why", of: (p) => p.reason, cell: (p) => (p.reason ? h("span", { className: "cut", title: p.reason }, p.row.banned_until ? `until ${when(p.row.banned_until)}: ${p.reason}` : p.reason) : "–") },
  { name: "Next claim holds", key: "believed", number: true, of: (p) => p.believed, title: "Chance that its next claim holds before anybody checks it", cell: (p) => (p.row.me ? "–" : percent(p.believed)) },
  { name: "Checks passed, 95 %", key: "share", number: true, of: (p) => p.passing.share ?? -1, cell: (p) => reach(p.passing) },
  { name: "Claims", key: "claims", number: true, of: (p) => p.row.claims, cell: (p) => p.row.claims },
  { name: "Confirmed", key: "confirmed", number: true, of: (p) => p.row.confirmed, cell: (p) => p.row.confirmed },
  { name: "Failed", key: "refused", number: true, of: (p) => p.row.refused, cell: (p) => p.row.refused },
  { name: "Attests", key: "attestations", number: true, of: (p) => p.attestations, title: "Attestations and accusations that it signed", cell: (p) => (p.accusations ? `${p.attestations} + ${p.accusations} against` : p.attestations) },
  { name: "Trust in its word", key: "trust", number: true, of: (p) => p.trust, cell: (p) => (p.row.me ? "–" : percent(p.trust)) },
  { name: "Residual", key: "residual", number: true, of: (p) => p.row.residual ?? -99, title: "Points claimed above what was found, mean", cell: (p) => (p.row.residual === null ? "–" : `${p.row.residual > 0 ? "+" : ""}${p.row.residual.toFixed(2)}`) },
  { name: "Last heard", key: "last", number: true, of: (p) => p.last_seen ?? 0, title: "What it signed last that is held here", cell: (p) => h("span", { title: `first ${when(p.first_seen)}, last ${when(p.last_seen)}` }, ago(p.last_seen, shown.now)) },
];

function ordered() {
  const column = COLUMNS.find(({ key }) => key === getParam("sort")) ?? null;
  const rows = [...shown.peers];
  if (!column) return rows;
  const sign = getParam("order") === "up" ? 1 : -1;
  return rows.sort((a, b) => {
    const [x, y] = [column.of(a), column.of(b)];
    return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
  });
}

function draw() {
  const count = shown.peers.length;
  const banned = shown.peers.filter((p) => p.row.standing === "banned").length;
  const watched = shown.peers.filter((p) => p.row.standing === "quarantined").length;
  $("#counted").textContent = count ? `${count} known, ${watched} quarantined, ${banned} banned` : "";
  if (!count) {
    fill(
      body,
      h("div", { className: "none" }, h("p", {}, `Store ${document.body.dataset.store} has heard of no peers: 0 signed records.`), h("p", { className: "dim" }, "A node that joins a mesh hears of them: ", h("code", {}, "eqmesh node join"), ". A local search has none, and needs none.")),
    );
    return;
  }
  const sort = getParam("sort");
  const up = getParam("order") === "up";
  const head = COLUMNS.map(({ name, key, number, title }) =>
    h(
      "th",
      { scope: "col", className: number ? "num" : null, title: title ?? null, "aria-sort": key === sort ? (up ? "ascending" : "descending") : null },
      h("button", { type: "button", onclick: () => setParam({ sort: key, order: key === sort && !up ? "up" : null }) }, name),
    ),
  );
  const rows = ordered().map((peer, at) =>
    h(
      "tr",
      { tabindex: at === selected ? 0 : -1, "aria-selected": String(at === selected), dataset: { peer: peer.row.peer }, onclick: (event) => event.target.closest("a") || select(at), onfocus: () => select(at, { focus: false }) },
      COLUMNS.map(({ cell, number, wide }) => h("td", { className: [number ? "num" : "", wide ? "wide" : ""].join(" ").trim() || null }, cell(peer))),
    ),
  );
  const had = body.contains(document.activeElement);
  fill(body, h("div", { className: "scroll" }, h("table", { className: "records", role: "grid", "aria-label": "Peers" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))));
  if (had) select(selected);
}

function select(at, options) {
  const chosen = chooseRow(body, at, options);
  if (chosen >= 0) selected = chosen;
}

async function load() {
  try {
    shown = await getJson("/api/peers");
    draw();
  } catch (error) {
    fill(body, trouble(error));
  }
}

bind("j", "Next peer", () => select(selected + (body.contains(document.activeElement) ? 1 : 0)));
bind("k", "Previous peer", () => select(selected - (body.contains(document.activeElement) ? 1 : 0)));
bind("Enter", "Open the peer", () => {
  const row = body.querySelectorAll("tbody tr")[selected];
  if (!row) return false;
  location.assign(withRun(`/peer/${row.dataset.peer}`));
});
onParams(() => shown && draw());
load();
follow(["signed", "beliefs", "findings"], load, 2000);
