"""Job, Outcome and Failure: all that crosses the pipe between a node and its workers, in `evaluator.frames`. Pure.

Nothing here loads torch.
"""

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

__all__ = [
    "ARITHMETIC",
    "Arithmetic",
    "Batch",
    "Calibrate",
    "Calibration",
    "CostLimits",
    "CurvePoint",
    "EpochPoint",
    "Failure",
    "FailureKind",
    "Job",
    "JobArithmetic",
    "Measured",
    "Outcome",
    "Progress",
    "Purpose",
    "Ready",
    "Replay",
    "Replayed",
    "Reply",
    "Request",
    "Result",
    "Settling",
    "Weigh",
    "Weighed",
    "Work",
    "failure_of",
    "objectives_fingerprint",
    "stream_key",
]

Arithmetic = Literal["fp32", "bf16", "exact-1"]
JobArithmetic = Literal["fp32", "bf16", "exact-1", "task"]  # "task": a function of its own, no network
ARITHMETIC: tuple[Arithmetic, ...] = ("fp32", "bf16", "exact-1")
Purpose = Literal["search", "rescore", "report", "export"]
FailureKind = Literal[
    "refused",  # the genome asks for more than the limits allow, or for what its class cannot do
    "diverged",  # states or weights stopped being finite
    "out-of-memory",
    "deadline",
    "crashed",  # the worker process ended
    "data",  # the task's data are missing or are not what their checksum names
    "environment",  # task, package or disk of this machine are not what the job needs: no fault of the genome
    "error",  # the task's own code raised
]


class CostLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a genome may ask for, checked on its analytic cost before anything is built.

    `bytes` at the peak of training, `macs` multiply-accumulates for one training sample.
    """

    bytes: float = 2.0**30
    macs: float = 1.5e7


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What one machine needs for one call, one multiply-accumulate and one byte of training.

    `seconds_per_*` come from a non-negative least-squares fit to timed training steps of this very
    code; `error` is the median relative error of that fit.
    """

    arithmetic: Arithmetic
    machine: str
    seconds_per_call: float
    seconds_per_mac: float
    seconds_per_byte: float
    error: float


class Job(msgspec.Struct, tag="job", frozen=True, kw_only=True):
    """One evaluation to be done. `genome` holds canonical bytes; `seed` is 0 to 2**63 - 1.

    `genome_id` and `task_id` are what the sender computed; the worker computes them again. `space` is
    an import string, or empty for the task's own space. `spool` is a folder for files named by the SHA-256 of their
    bytes: the weights, and with `evidence`, which needs it, all that a stranger has to see of the training of a
    network: the predictions (`.predictions`) and the learner's state at each checkpoint (`.state`). `telemetry` asks
    for a look at the network after each epoch, which changes nothing of the training. `probes` names the objectives
    (`objectives.PROBE_OBJECTIVES`) that are measured of the trained network beside its own.
    """

    number: int
    task: str
    task_id: str
    tier: str
    space: str = ""
    genome: bytes
    genome_id: str
    seed: int
    arithmetic: JobArithmetic = "fp32"
    backend: str = "auto"
    purpose: Purpose = "search"
    split: Literal["validation", "test"] = "validation"
    checkpoints: int = 20
    diagnose: bool = True
    telemetry: bool = False
    probes: tuple[str, ...] = ()
    deadline_s: float = 600.0
    limits: CostLimits = CostLimits()
    calibration: Calibration | None = None
    spool: str | None = None
    evidence: bool = False


class Batch(msgspec.Struct, tag="batch", frozen=True, kw_only=True):
    """Jobs of one `groups.group_key` that a worker trains together; it answers each with an Outcome or a Failure.

    Their numbers tell them apart, so no two may be equal.
    """

    jobs: tuple[Job, ...]


class Weigh(msgspec.Struct, tag="weigh", frozen=True, kw_only=True):
    """A claim's weights and predictions to be held against each other, and against its accuracy, on validation.

    `weights` and `predictions` are the SHA-256 of the files at the paths, in hex; `correct` of `examples` is what the
    claim says of its accuracy. At most `flips_allowed` predictions may be others here: 0 in the class exact-1.
    """

    number: int
    task: str
    task_id: str
    tier: str
    space: str = ""
    genome: bytes
    genome_id: str
    arithmetic: JobArithmetic
    backend: str = "auto"
    weights_path: str
    weights: str
    predictions_path: str
    predictions: str
    correct: int
    examples: int
    flips_allowed: int
    deadline_s: float = 600.0
    limits: CostLimits = CostLimits()


class Replay(msgspec.Struct, tag="replay", frozen=True, kw_only=True):
    """One checkpoint segment (from 0) of a claim's own `job`, to be trained again.

    Segment 0 starts from the network as it is built. Every other one starts from the file at `state_path`, whose
    bytes have the SHA-256 `state` and whose arrays have the fingerprint `leaf`: the checkpoint before, in hex.
    """

    number: int
    job: Job
    segment: int
    state_path: str | None = None
    state: str | None = None
    leaf: str | None = None

    @property
    def deadline_s(self) -> float:
        """Seconds that the replay may take: the job's."""
        return self.job.deadline_s


class Calibrate(msgspec.Struct, tag="calibrate", frozen=True, kw_only=True):
    """Ask a worker to time training steps in one arithmetic class."""

    arithmetic: Arithmetic


Work = Job | Weigh | Replay
Request = Work | Batch | Calibrate


class Ready(msgspec.Struct, tag="ready", frozen=True, kw_only=True):
    """A worker has loaded its libraries and waits for jobs.

    `backends` gives for each backend why it cannot be used here; empty where it can.
    """

    pid: int
    versions: dict[str, str]
    backends: dict[str, str]


class Progress(msgspec.Struct, tag="progress", frozen=True, kw_only=True):
    """How far a job is: share of its samples trained, and accuracy where it was just measured."""

    number: int
    done: float
    accuracy: float | None = None


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Validation accuracy after so many training samples; `epoch` counts passes, as a fraction.

    `residual` is the largest change of a state in the last free sweep of the batch trained last.
    """

    samples: int
    epoch: float
    accuracy: float
    residual: float
    train_cpu_s: float


class EpochPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A training as one of its epochs (from 1) ended.

    `accuracy` is on validation, None where the test split is to be scored, once, at the end. `loss` (the cost's mean)
    and `error` (the share that is wrong) are of the first training examples. `free_steps` and `nudged_steps` are mean
    sweeps in this epoch, `residual` the largest change of a state in the last free sweep of its last batch. Energies
    are means over a batch at rest: E, and E + beta C under the first nudge; None where there is no such phase.
    `recurrent_norm` is the largest spectral norm of a weight between states, 0 where there is none. Seconds and
    `peak_bytes` are of the training so far; what was scored in between counts in the peak alone.
    """

    epoch: int
    samples: int
    accuracy: float | None
    loss: float
    error: float
    train_cpu_s: float
    train_wall_s: float
    peak_bytes: int
    free_steps: float
    nudged_steps: float
    residual: float
    free_energy: float | None
    nudged_energy: float | None
    spectral_norm: dict[str, float]
    recurrent_norm: float
    gradient_norm: dict[str, float]

    @property
    def dead(self) -> tuple[str, ...]:
        """Parameters whose gradient is exactly 0: they have stopped learning."""
        return tuple(name for name, norm in self.gradient_norm.items() if norm == 0.0)


class Settling(msgspec.Struct, frozen=True, kw_only=True):
    """How the network relaxed: mean sweeps really taken a phase, and the last diagnosis.

    `free_energy`, `free_residual` and their nudged twins hold one value a sweep, of the trained
    network on one batch. `verdict` is converged, oscillating, diverged, unsettled or none (a network
    with nothing to settle); `period` is that of an oscillation, else 0.
    """

    free_steps: float = 0.0
    nudged_steps: float = 0.0
    verdict: str = "none"
    period: int = 0
    free_energy: tuple[float, ...] = ()
    nudged_energy: tuple[float, ...] = ()
    free_residual: tuple[float, ...] = ()
    nudged_residual: tuple[float, ...] = ()
    spectral_norm: dict[str, float] = {}
    gradient_norm: dict[str, float] = {}


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the clock and the kernel of this machine said; it never ranks anything.

    Of a network that was trained in a group, the times are its share; `peak_bytes` is the group's.
    """

    train_cpu_s: float = 0.0
    train_wall_s: float = 0.0
    evaluate_cpu_s: float = 0.0
    samples_per_s: float = 0.0
    peak_bytes: int = 0


class Outcome(msgspec.Struct, tag="outcome", frozen=True, kw_only=True):
    """One finished evaluation. All but `measured`, and seconds and bytes in `curve` and `epochs`, follow from the job.

    `backend` is what did the arithmetic; where `groups.group_key` lets a job share a launch it is that of populations,
    torch-cpu-population on a CPU, also for a job that ran alone.

    `macs` counts the multiply-accumulates of the whole training if every phase takes all its sweeps and every batch
    is full. `curve` is empty on the test split, which is scored once, and `epochs` unless `telemetry` was asked for. Of
    a function, the one checkpoint is
    `objectives_fingerprint`. Of a network, `correct` of `examples` were right, and `states` name the files of evidence
    of the `checkpoints`, the largest of `state_bytes`; without evidence there are none. `controls` say of an objective
    that a probe measured why it is only a bound; one that is not named there passed its control, or has none.
    """

    number: int
    genome: str
    task: str
    task_id: str
    tier: str
    seed: int
    arithmetic: str
    backend: str
    purpose: Purpose
    split: str
    objectives: dict[str, float]
    controls: dict[str, str] = {}
    examples: int = 0
    correct: int = 0
    macs: float = 0.0
    parameter_bytes: int = 0
    activation_bytes: int = 0
    weights: str = ""
    weights_bytes: int = 0
    predictions: str = ""
    checkpoints: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    state_bytes: int = 0
    curve: tuple[CurvePoint, ...] = ()
    epochs: tuple[EpochPoint, ...] = ()
    settling: Settling = Settling()
    measured: Measured = Measured()
    versions: dict[str, str] = {}


class Weighed(msgspec.Struct, tag="weighed", frozen=True, kw_only=True):
    """The answer to `Weigh`. `why` is empty where it passed, else begins with weights:, predictions: or accuracy:.

    `mismatches` predictions are others than these weights give here, `correct` of the `examples` of this machine's
    split are right; both stay 0 where files could not be read so far. `free_steps` are the sweeps of a prediction: 0.0
    for a backpropagation network, which has none, and where a tolerance decides, which leaves them unknown.
    """

    number: int
    passed: bool
    why: str
    mismatches: int = 0
    correct: int = 0
    examples: int
    free_steps: float


class Replayed(msgspec.Struct, tag="replayed", frozen=True, kw_only=True):
    """The answer to `Replay`: the fingerprint at the segment's end, in hex, to be held against the claim's.

    Where `start_ok` is false, the segment cannot be run from what was given, and `end` is empty. `why` then begins with
    state: for a file whose arrays are not those of the leaf, which proves nothing of the claim, or with leaf: for a
    state that the leaf does stand for but that no training leaves behind, which refutes it; it is empty otherwise.
    `free_steps` and `nudged_steps` are mean sweeps over the segment. A segment that diverges is a `Failure`.
    `segments` says into how many the whole training falls, and `weights` (SHA-256 of the file, in hex) what it leaves
    behind where this one is the last: what a claim names has to be just that. 0 and empty for a function.
    """

    number: int
    end: str
    start_ok: bool = True
    why: str = ""
    free_steps: float = 0.0
    nudged_steps: float = 0.0
    segments: int = 0
    weights: str = ""


class Failure(msgspec.Struct, tag="failure", frozen=True, kw_only=True):
    """One evaluation that gave no result, and why, in words for the person who reads the record.

    A `Weigh` has neither seed nor purpose; its failure carries 0 and `search`.
    """

    number: int
    genome: str
    task: str
    task_id: str
    tier: str
    seed: int
    arithmetic: str
    purpose: Purpose
    kind: FailureKind
    detail: str


class Calibrated(msgspec.Struct, tag="calibrated", frozen=True, kw_only=True):
    """The answer to `Calibrate`."""

    calibration: Calibration


Result = Outcome | Failure
Reply = Ready | Progress | Outcome | Weighed | Replayed | Failure | Calibrated


def failure_of(request: Work, kind: FailureKind, detail: str) -> Failure:
    """This request, ended without a result."""
    asked = request.job if isinstance(request, Replay) else request
    return Failure(
        number=request.number,
        genome=asked.genome_id,
        task=asked.task,
        task_id=asked.task_id,
        tier=asked.tier,
        seed=asked.seed if isinstance(asked, Job) else 0,
        arithmetic=asked.arithmetic,
        purpose=asked.purpose if isinstance(asked, Job) else "search",
        kind=kind,
        detail=detail,
    )


def objectives_fingerprint(objectives: Mapping[str, float]) -> str:
    """SHA-256 of objectives as MessagePack, 64-bit floats by sorted name: the one checkpoint of a function."""
    plain = {name: float(value) for name, value in objectives.items()}
    return hashlib.sha256(msgspec.msgpack.encode(plain, order="sorted")).hexdigest()


def stream_key(genome_id: str, task_id: str, seed: int) -> bytes:
    """32 bytes from which a training draws everything: weights, order of samples, signs.

    Derived, not chosen, so that a seed cannot be shopped for without naming it.
    """
    text = f"eqmesh/train/1\n{genome_id}\n{task_id}\n{seed}\n"
    return hashlib.sha256(text.encode()).digest()
