// Claims with all checks of them, for the pages of a genome and of a peer.

import { format } from "./charts/scale.js";
import { h } from "./dom.js";
import { verifyButton } from "./verify.js";
import { ago, genomeLink, peerLink, percent, short, span, table, tag, when } from "./words.js";

const STAGES = { 0: "form", 1: "weights", "2a": "replay", "2b": "retraining" };

/** A stage's number with what it does. */
export const stageWords = (stage) => (STAGES[stage] ? `${stage} ${STAGES[stage]}` : stage);

const passedWords = (passed) => (passed === null ? h("span", { className: "faint" }, "could not run") : passed ? h("span", { className: "good" }, "✓ passed") : h("span", { className: "bad" }, "✗ failed"));

const valuesWords = (objectives) => Object.entries(objectives).map(([name, value]) => `${name} ${format(value, name === "accuracy" ? "share" : name === "memory" ? "bytes" : "")}`).join(", ") || "–";

/** One claim: what is claimed, what this node makes of it, and on opening every check. */
export function claimEntry(claim, now, { peer = true, genome = true } = {}) {
  const checks = claim.findings.length + claim.checks.length;
  return h(
    "details",
    { className: "claim", open: checks > 0 && checks <= 4 },
    h(
      "summary",
      {},
      h("span", { className: "mono" }, short(claim.id)),
      tag(claim.standing),
      h("span", {}, valuesWords(claim.objectives)),
      h("span", { className: "dim" }, `${checks} ${checks === 1 ? "check" : "checks"}`),
    ),
    h(
      "p",
      { className: "dim" },
      peer ? ["by ", peerLink(claim.peer), ", "] : null,
      genome ? ["genome ", genomeLink(claim.genome), ", "] : null,
      `${claim.tier}, ${claim.arithmetic} on ${claim.backend}${claim.device ? `, hardware said to be ${claim.device}` : ""}; heard ${ago(claim.at, now)}, holds until ${when(claim.expiry)}`,
      claim.false === null ? null : `; chance that it does not hold ${percent(claim.false)}`,
    ),
    claim.findings.length
      ? table(
          `Own checks of claim ${short(claim.id)}`,
          [["Own check"], ["Item"], ["Outcome"], ["What was found"], ["Took", true], ["When"]],
          claim.findings.map((one) => [stageWords(one.stage), one.item || "–", passedWords(one.passed), one.detail, span(one.seconds), when(one.at)]),
        )
      : null,
    claim.checks.length
      ? table(
          `What other peers say of claim ${short(claim.id)}`,
          [["Other's word"], ["Peer"], ["Stage"], ["Item"], ["Its results"], ["When"]],
          claim.checks.map((one) => [tag(one.kind), peerLink(one.peer), stageWords(one.stage), one.item || "–", valuesWords(one.objectives), when(one.at)]),
        )
      : null,
    claim.standing === "own" ? null : verifyButton(claim.id, "Check it now", "Check this claim now, whatever the node had planned").element,
    checks ? null : h("p", { className: "faint" }, "Nobody checked it yet, as far as is known here."),
  );
}
