"""All that crosses the pipe between the lab's process and whoever watches it: lines of JSON. Pure, loads no kernels."""

from typing import Annotated, Literal, TypeVar

import msgspec

from evaluator.errors import EvaluatorError

__all__ = [
    "GRID_SIDE",
    "MOST_LINE_BYTES",
    "MOST_POINTS",
    "Ended",
    "Frame",
    "Landscape",
    "Order",
    "Pace",
    "Point",
    "Report",
    "Restart",
    "Scope",
    "Set",
    "Settings",
    "Told",
    "Trace",
    "decode_order",
    "decode_report",
    "line_of",
]

MOST_LINE_BYTES = 256 * 1024
"""Bytes that one line may have, in either direction."""

MOST_POINTS = 200
"""Steps that one frame tells of; where more were taken since the last, every other of them is left out."""

GRID_SIDE = 24
"""Points along each side of the plane over which a landscape holds energies."""

Learning = Literal["centred", "one-sided", "negative", "random-sign", "linearised", "backprop"]
Optimizer = Literal["sgd", "adam", "adamw", "muon", "dion"]

_Depth = Annotated[int, msgspec.Meta(ge=1, le=3)]
_Width = Annotated[int, msgspec.Meta(ge=4, le=128)]
_Batch = Annotated[int, msgspec.Meta(ge=4, le=128)]
_Beta = Annotated[float, msgspec.Meta(ge=0.001, le=2.0)]
_Gamma = Annotated[float, msgspec.Meta(ge=0.1, le=8.0)]
_Rate = Annotated[float, msgspec.Meta(ge=1e-5, le=10.0)]
_FreeSteps = Annotated[int, msgspec.Meta(ge=0, le=64)]
_NudgedSteps = Annotated[int, msgspec.Meta(ge=1, le=32)]
_Seed = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_StepSize = Annotated[float, msgspec.Meta(ge=0.05, le=1.0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is trained and how, on the digits. `depth`, `width`, `output` and `seed` make another network: they restart.

    The rest is switched while it runs. `rule` is an estimate of Equilibrium Propagation, or "backprop" on the same
    shape; `spectral` clips the singular values of each weight between states to `gamma`; `rate` is the learning rate;
    the sweeps of both phases are `free_steps` and `nudged_steps`, and `step_size` that of the scheme "synchronous".
    """

    depth: _Depth = 3
    width: _Width = 48
    output: Literal["ce", "mse"] = "mse"
    seed: _Seed = 0
    rule: Learning = "centred"
    beta: _Beta = 0.2
    spectral: bool = True
    gamma: _Gamma = 1.0
    optimizer: Optimizer = "sgd"
    rate: _Rate = 0.05
    scheme: Literal["block", "synchronous"] = "block"
    step_size: _StepSize = 1.0
    free_steps: _FreeSteps = 12
    nudged_steps: _NudgedSteps = 6
    batch: _Batch = 32

    @property
    def network(self) -> tuple[object, ...]:
        """What decides the network itself: where it changes, training begins anew."""
        return self.depth, self.width, self.output, self.seed


class Set(msgspec.Struct, tag="set", frozen=True, kw_only=True):
    """Go on with these settings. `number` comes back with the answer."""

    number: int
    settings: Settings


class Restart(msgspec.Struct, tag="restart", frozen=True, kw_only=True):
    """Draw the first weights again and train from them, with these settings."""

    number: int
    settings: Settings


class Pace(msgspec.Struct, tag="pace", frozen=True, kw_only=True):
    """Take at most so many steps a second, 0 for a pause; `once` takes a single step more."""

    number: int
    steps_per_s: Annotated[float, msgspec.Meta(ge=0, le=1000)]
    once: bool = False


Order = Set | Restart | Pace


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One training step. `loss` is the mean over its batch before it; `accuracy` of the validation split after it,
    where it was looked at; `norms` are the largest singular value of each weight between states, in the frame's order.

    None stands for what is not finite.
    """

    step: int
    loss: float | None
    accuracy: float | None
    norms: tuple[float | None, ...]


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """How the example batch settles: mean energy before the first sweep and after each, largest change in each sweep.

    F = E + beta C in the nudged phase. The free phase is followed for at least 32 sweeps, of which the training takes
    `free_steps`. `verdict` is that of `kernels.diagnostics.classify`.
    """

    free_energy: tuple[float | None, ...]
    free_residual: tuple[float | None, ...]
    nudged_energy: tuple[float | None, ...]
    nudged_residual: tuple[float | None, ...]
    free_steps: int
    verdict: str
    period: int | None


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Energies over a part of a plane: GRID_SIDE rows along `v_range` of as many columns along `u_range`.

    `grid` holds E and `nudged_grid` F, each of the state within its bounds that is nearest to the point.
    """

    u_range: tuple[float, float]
    v_range: tuple[float, float]
    grid: tuple[tuple[float, ...], ...]
    nudged_grid: tuple[tuple[float, ...], ...]


class Landscape(msgspec.Struct, frozen=True, kw_only=True):
    """The path of one example's states on a plane, and the energy around it.

    The plane holds the settled free state, its origin, and the first two principal directions of the path from there;
    `share` is how much of the path's square distance lies in it. `free` and `nudged` are (u, v) of the states before
    the first sweep and after each, `*_energy` their energies: E, and F of the nudged phase. `whole` shows all of the
    path, `near` the nudged phase alone, which goes a short way; None where there is none. `pull` is -dF/ds + dE/ds at
    the origin on the plane: where the target pulls.
    """

    free: tuple[tuple[float, float], ...]
    nudged: tuple[tuple[float, float], ...]
    free_energy: tuple[float, ...]
    nudged_energy: tuple[float, ...]
    whole: Scope
    near: Scope | None
    pull: tuple[float, float]
    share: float
    label: int
    predicted: int


class Frame(msgspec.Struct, tag="frame", frozen=True, kw_only=True):
    """What there is to see: the steps since the last frame, and how the network settles now.

    `weights` name the norms of points. `trace` and `landscape` are None where the rule settles nothing, or where
    numbers are no longer finite: then `diverged` says at which step, and why. `restarted` says that steps count anew.
    `run` counts the restarts.
    """

    run: int
    step: int
    settings: Settings
    steps_per_s: float
    restarted: bool
    weights: tuple[str, ...]
    points: tuple[Point, ...]
    trace: Trace | None
    landscape: Landscape | None
    diverged: str | None


class Told(msgspec.Struct, tag="told", frozen=True, kw_only=True):
    """The answer to an order: None where it was done, or why it was refused."""

    number: int
    refused: str | None


class Ended(msgspec.Struct, tag="ended", frozen=True, kw_only=True):
    """The lab ends by itself, and why."""

    why: str


Report = Frame | Told | Ended

_T = TypeVar("_T")
_orders = msgspec.json.Decoder(Order)
_reports = msgspec.json.Decoder(Report)


def line_of(message: Order | Report) -> bytes:
    """A message as one line of JSON; numbers that are not finite become null."""
    return msgspec.json.encode(message) + b"\n"


def decode_order(line: bytes) -> Order:
    """The order of one line. Raises EvaluatorError for anything else."""
    order: Order = _decoded(line, _orders)
    return order


def decode_report(line: bytes) -> Report:
    """The report of one line. Raises EvaluatorError for anything else."""
    report: Report = _decoded(line, _reports)
    return report


def _decoded(line: bytes, decoder: "msgspec.json.Decoder[_T]") -> _T:
    if len(line) > MOST_LINE_BYTES:
        raise EvaluatorError(f"a line of the lab has at most {MOST_LINE_BYTES} bytes, got {len(line)}.")
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EvaluatorError(f"the lab was given something else than it takes: {error}") from error
