"""The rows of a store, and the specification of a run. Pure."""

import hashlib

import msgspec

from evaluator.jobs import CostLimits, JobArithmetic
from evaluator.objectives import Objective
from genome import Birth

__all__ = ["BirthRow", "EvaluationRow", "EventRow", "FindingRow", "RunRow", "RunSpec", "SignedRow"]

_json = msgspec.json.Encoder(order="deterministic")


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What decides which records a run makes; two equal ones are one run, to be continued.

    Left out are the deadline and the memory of a worker, which depend on the machine and may be raised for a run
    that goes on; what they cut off stays on record. `objectives` are kept whole, so that a store can be read
    without the task's code, and an old front keeps its scale.
    """

    seed: int
    task: str
    task_id: str
    tier: str
    space: str
    space_source: str
    strategy: str
    arithmetic: JobArithmetic
    objectives: tuple[Objective, ...]
    limits: CostLimits
    look_behind: int | None
    baselines: tuple[str, ...]
    seeds: tuple[str, ...]
    population: int

    @property
    def key(self) -> str:
        """SHA-256 of the whole specification, but for the imported seeds."""
        return hashlib.sha256(_json.encode(msgspec.structs.replace(self, seeds=()))).hexdigest()


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run, and how many evaluations of it are recorded. `settings` is the RunSpec as JSON."""

    id: int
    seed: int
    task: str
    task_id: str
    tier: str
    space: str
    strategy: str
    arithmetic: str
    settings: str
    created_at: float
    evaluations: int
    failures: int


class EvaluationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One finished evaluation without its curve and telemetry. `objectives` is empty for a failure."""

    id: int
    run: int
    ask: int
    purpose: str
    genome: str
    task_id: str
    seed: int
    arithmetic: str
    failure: str | None
    detail: str | None
    weights: str | None
    finished_at: float
    objectives: dict[str, float]


class BirthRow(msgspec.Struct, frozen=True, kw_only=True):
    """One birth; `born` is its place in the order of births of this store."""

    genome: str
    born: int
    birth: Birth


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the append-only log; `body` is JSON."""

    seq: int
    at: float
    kind: str
    body: str


class SignedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One record that a peer signed; `about` is the claim it speaks of, `genome` the genome of a claim or setback."""

    id: bytes
    kind: str
    task: bytes
    peer: str
    sequence: int
    about: bytes | None
    genome: str | None
    expiry: int
    body: bytes
    signature: bytes
    received_at: float


class FindingRow(msgspec.Struct, frozen=True, kw_only=True):
    """What an own check of a claim found; `passed` is None where it could not be run."""

    claim: bytes
    stage: str
    item: str
    passed: bool | None
    detail: str
    at: float
    seconds: float
