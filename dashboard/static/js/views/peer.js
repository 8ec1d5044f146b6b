// One peer: its counts, its bans with their evidence, its claims with every check.

import { claimEntry, stageWords } from "../claims.js";
import { $, fill, h } from "../dom.js";
import { getJson } from "../data.js";
import { follow } from "../follow.js";
import { visited } from "../shell.js";
import { withRun } from "../state.js";
import { reach } from "../reach.js";
import { ago, panel, peerLink, percent, short, shortPeer, table, tag, trouble, when } from "../words.js";

const root = $("#peer");
const id = root.dataset.peer;
let seen = "";

async function load() {
  try {
    const { peer, now } = await getJson(`/api/peer/${encodeURIComponent(id)}`);
    const text = JSON.stringify(peer);
    if (text === seen) return;
    seen = text;
    visited(withRun(`/peer/${id}`), `peer ${shortPeer(id)}`);
    draw(peer, now);
  } catch (error) {
    if (!seen) fill(root, trouble(error));
  }
}

function draw(peer, now) {
  const { line } = peer;
  const { row } = line;
  const counts = panel("What this node makes of it", "counts fade by 0.3 % a round", "span5");
  const figures = [
    ["Next claim holds, before any check", row.me ? "–" : percent(line.believed)],
    ["Checks passed, 95 % interval", reach(line.passing)],
    ["Weight of checks passed and failed", `${row.a.toFixed(2)} and ${row.b.toFixed(2)}`],
    ["Its word held and did not", `${row.attestations_ok.toFixed(1)} and ${row.attestations_bad.toFixed(1)}`],
    ["Trust in its word", row.me ? "–" : percent(line.trust)],
    ["Claims held here", row.claims],
    ["Confirmed, refused", `${row.confirmed}, ${row.refused}`],
    ["Attestations, accusations signed", `${line.attestations}, ${line.accusations}`],
    ["Residual", row.residual === null ? "nothing was trained again" : `${row.residual > 0 ? "+" : ""}${row.residual.toFixed(2)} points`],
    ["First heard", when(line.first_seen)],
    ["Last heard", `${when(line.last_seen)} (${ago(line.last_seen, now)})`],
  ];
  fill(counts.body, h("dl", { className: "kv" }, figures.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
  const sanctions = panel("Bans and quarantine", "", "span7");
  fill(sanctions.body, peer.quarantined ? h("div", { className: "ban" }, h("p", {}, h("b", {}, "Quarantined. "), "What it claims is better than what is found here, by more than chance allows: everything that it claims is checked, and nothing of it is believed unchecked."), residuals(peer)) : null, peer.bans.map((ban) => banEntry(ban)), peer.bans.length || peer.quarantined ? null : h("p", { className: "dim" }, "None on record."));
  const claims = panel("Claims", peer.held > peer.claims.length ? `the newest ${peer.claims.length} of ${peer.held}` : `${peer.held} held here`);
  fill(claims.body, peer.claims.length ? peer.claims.map((claim) => claimEntry(claim, now, { peer: false })) : h("p", { className: "dim" }, "It claimed nothing that is held here."));
  fill(root, h("div", { className: "head" }, h("h2", { className: "gid mono" }, shortPeer(id)), tag(row.standing), row.me ? h("span", { className: "tag info" }, "this node") : null, h("p", { className: "mono" }, id)), counts.element, sanctions.element, claims.element);
}

const residuals = (peer) => table("Residuals by task", [["Task"], ["Trained again", true], ["Claimed above found", true]], Object.entries(peer.residuals).map(([task, [n, mean]]) => [short(task), n, `${mean > 0 ? "+" : ""}${mean.toFixed(2)} points`]));

function banEntry(ban) {
  const over = ban.active ? "" : ban.lifted ? `, lifted ${when(ban.lifted)}` : ", over";
  return h(
    "div",
    { className: `ban ${ban.active ? "" : "over"}` },
    h("p", {}, h("b", {}, ban.manual ? "Banned by hand" : "Banned"), ` ${when(ban.since)} to ${when(ban.until)}${over}`),
    h("p", {}, ban.reason),
    ban.evidence.length
      ? h("ul", {}, ban.evidence.map((item) => h("li", {}, `Evidence: claim ${short(item.claim)}, stage ${stageWords(item.stage)}${item.item ? `, item ${item.item}` : ""}, `, item.accuser ? ["accused by ", peerLink(item.accuser)] : "found by this node itself", "; run it again: ", h("code", {}, `eqmesh verify ${short(item.claim)}`))))
      : h("p", { className: "dim" }, "A person's word: there is no evidence to run again."),
  );
}

load();
follow(["signed", "beliefs", "findings"], load, 2000);
