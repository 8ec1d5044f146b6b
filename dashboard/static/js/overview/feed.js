// What happened, in words: one line an event, text of peers as text.

import { h, icon } from "../dom.js";
import { format } from "../charts/scale.js";
import { withRun } from "../state.js";

const short = (id) => String(id ?? "").slice(0, 8);
const end = (peer) => `..${String(peer ?? "").slice(-8)}`;
const genome = (id) => h("a", { href: withRun(`/genome/${encodeURIComponent(id)}`), className: "mono" }, short(id));

const KINDS = {
  "evaluation.finished": (b, objectives) => [
    b.purpose === "rescore" ? "check" : "plus",
    b.purpose === "rescore" ? "good" : "info",
    [genome(b.genome), ` ${valueOf(b.objectives, objectives)}`],
    b.purpose === "rescore" ? "fresh seed" : b.purpose,
  ],
  "evaluation.failed": (b) => ["cross", "bad", [genome(b.genome), ` came to nothing: ${b.failure}`], "failed"],
  "run.started": (b) => ["play", "info", [`Run ${b.run} began: ${b.task ?? ""}, seed ${b.seed ?? "?"}`], "run"],
  "run.resumed": (b) => ["play", "info", [`Run ${b.run} goes on`], "run"],
  "run.finished": (b) => ["check", "good", [`Run ${b.run} is finished`], "run"],
  "run.stopped": (b) => ["stop", "warn", [`Run ${b.run} stopped: ${b.why ?? ""}`], "run"],
  "genome.imported": (b) => ["download", "info", [genome(b.genome), " imported"], "import"],
  "claim.made": (b) => ["up", "info", [genome(b.genome), " claimed by this node"], "claim"],
  "claim.confirmed": (b) => ["check", "good", [`Claim ${short(b.claim)} of ${end(b.peer)} is confirmed`], "holds"],
  "claim.refused": (b) => ["cross", "bad", [`Claim ${short(b.claim)} of ${end(b.peer)} refused: ${b.why ?? ""}`], "fails"],
  "claim.accused": (b) => ["cross", "warn", [`Claim ${short(b.claim)} accused by ${end(b.peer)}: ${b.item ?? b.stage ?? ""}`], "accused"],
  "peer.banned": (b) => ["cross", "bad", [`${end(b.peer)} is banned: ${b.item ?? b.reason ?? ""}`], "peer"],
  "peer.unbanned": (b) => ["check", "info", [`${end(b.peer)} is no longer banned`], "peer"],
};

function valueOf(values, objectives) {
  const lead = objectives.find((one) => values && one.name in values);
  return lead ? `${lead.name} ${format(values[lead.name], lead.unit)}` : "";
}

const plain = (body) =>
  Object.entries(body)
    .filter(([, value]) => typeof value !== "object")
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");

const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

/** One line of the feed. */
export function feedLine({ at, kind, body }, objectives) {
  const told = KINDS[kind]?.(body, objectives) ?? ["tasks", "dim", [plain(body)], kind];
  const [sign, tone, words, tag] = told;
  return h(
    "li",
    null,
    h("time", { className: "t", datetime: new Date(at * 1000).toISOString(), title: new Date(at * 1000).toLocaleString() }, clock(at)),
    h("span", { className: tone }, icon(sign)),
    h("span", { className: "what" }, words),
    h("span", { className: "tag" }, tag),
  );
}
