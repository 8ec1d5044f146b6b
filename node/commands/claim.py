"""`eqmesh claim`: one claim in words, and all that is known of it here."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from node import output
from node.commands.options import Json, StorePath, store_path
from node.commands.peers import me, when
from node.mesh.books import read_ledger
from node.protocol.claims import Accusation, Attestation, Claim
from node.protocol.trust import Ledger, TrustSettings
from node.protocol.wire import decode
from node.service import wall_clock
from node.standing import claim_standing
from node.store.records import FindingRow, Reader, SignedRow
from node.text import short

__all__ = ["ClaimName", "show"]

ClaimName = Annotated[str, Parameter(name="CLAIM", help="First digits of a claim's id, at least six.")]


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer signed about a claim: that it held, or which item of it did not."""

    kind: str
    peer: str
    stage: str
    segments: tuple[int, ...]
    at: float


def show(claim: ClaimName, /, *, store: StorePath = None, json: Json = False) -> None:
    """Show what a claim says, what this node makes of it, and what it and others found when they checked it.

    Example: eqmesh claim show 4be63a3c --store eqmesh.db
    """
    now = wall_clock()
    with Reader(store_path(store)) as reader:
        row = reader.resolve_claim(claim)
        ledger = read_ledger(reader, TrustSettings())
        words = [word_of(about) for about in reader.signed_about(row.id)]
        findings = reader.findings(row.id)
        here = reader.genome_bytes(str(row.genome)) is not None
    body = decode(row.body, Claim)
    mine = row.peer == me()
    standing = claim_standing(ledger, row, now, mine=mine)
    odds = ledger.log_odds(row.id.hex()) if row.id.hex() in ledger.claims else None
    if json:
        output.write_json(
            _plain(row, body)
            | {
                "mine": mine,
                "standing": standing,
                "log_odds": odds,
                "genome_here": here,
                "accused": any(word.kind == "accusation" for word in words),
                "findings": [_finding(found) for found in findings],
                "words": msgspec.to_builtins(words),
            }
        )
        return
    said = "own" if mine else standing
    output.write_table(
        ["figure", "value"],
        [
            *_lines(row, body),
            ["genome is here", "yes" if here else "no"],
            ["standing", said + (f", log-odds of falsehood {odds:.2f}" if odds is not None else "")],
            ["accused", _accused(words, mine=mine)],
        ],
    )
    _print_checks(findings, words, ledger)


def word_of(row: SignedRow) -> Word:
    """What an attestation or accusation says. Raises ProtocolError where the record is neither."""
    if row.kind == "attestation":
        held = decode(row.body, Attestation)
        stage: str = held.stage
        segments = tuple(leaf.segment for leaf in held.leaves)
    else:
        failed = decode(row.body, Accusation)
        stage, segments = failed.stage, (failed.segment,)
    return Word(kind=row.kind, peer=row.peer, stage=stage, segments=segments, at=row.received_at)


def _plain(row: SignedRow, body: Claim) -> dict[str, object]:
    """The claim itself as plain data, hashes in hexadecimal."""
    fields: dict[str, object] = {}
    for name in Claim.__struct_fields__:
        value = getattr(body, name)
        fields[name] = value.hex() if isinstance(value, bytes) else msgspec.to_builtins(value)
    fields["birth"] = {
        "parents": [parent.hex() for parent in body.birth.parents],
        "operator": body.birth.operator,
        "seed": body.birth.seed,
    }
    return {"claim": row.id.hex(), **fields, "peer": row.peer, "received_at": row.received_at}


def _finding(found: FindingRow) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(found)
    return plain | {"claim": found.claim.hex()}


def _lines(row: SignedRow, body: Claim) -> list[list[str]]:
    parents = ", ".join(short(parent.hex()) for parent in body.birth.parents) or "nobody"
    values = ", ".join(f"{name} {value:.6g}" for name, value in sorted(body.objectives.items()))
    lines = [
        ["claim", row.id.hex()],
        ["signed by", row.peer],
        ["holds", f"{when(body.not_before)} to {when(body.expiry)}"],
        ["says", f"{values}" + (f" ({body.correct} of {body.examples})" if body.examples else "")],
        ["task", f"{body.task.hex()} ({body.tier}), epoch {body.epoch}"],
        ["genome", f"{body.genome.hex()} of {body.space}"],
        ["born", f"{body.birth.operator} of {parents}"],
        ["class", f"{body.arithmetic} on {body.backend}, kernels {body.kernels}"],
        ["checkpoints", f"{body.checkpoint_count} under {body.checkpoints.hex()}"],
    ]
    if body.weights is not None and body.predictions is not None:
        lines += [
            ["weights", f"{body.weights.hex()} ({body.weights_bytes} bytes)"],
            ["predictions", body.predictions.hex()],
            ["analytic cost", f"{body.peak_bytes} bytes, {body.macs:g} products a step"],
        ]
    if body.measured is not None:
        lines.append(
            ["its own clock", f"{body.measured.samples_per_s:.3g} samples/s on {body.measured.device}"]
        )
    return lines


def _accused(words: list[Word], *, mine: bool) -> str:
    accusers = [word for word in words if word.kind == "accusation"]
    if not accusers:
        return "by nobody"
    named = ", ".join(f"{word.peer} (stage {word.stage}, item {_items(word)})" for word in accusers)
    return f"{named}{'; `eqmesh verify` runs it again' if mine else ''}"


def _items(word: Word) -> str:
    if word.stage == "1":
        return "weights"
    return " ".join(map(str, word.segments)) or "-"


def _print_checks(findings: list[FindingRow], words: list[Word], ledger: Ledger) -> None:
    results = {True: "passed", False: "failed", None: "could not be run"}
    if findings:
        output.write("\nfound here")
        output.write_table(
            ["at", "stage", "item", "result", "detail"],
            [
                [when(found.at), found.stage, found.item or "-", results[found.passed], found.detail]
                for found in findings
            ],
        )
    if words:
        output.write("\nsigned about it")
        output.write_table(
            ["at", "what", "peer", "trust", "stage", "items"],
            [
                [when(w.at), w.kind, w.peer, f"{ledger.peer(w.peer).trust:.2f}", w.stage, _items(w)]
                for w in words
            ],
        )
