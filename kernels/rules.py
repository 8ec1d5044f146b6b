"""What a learning run is told: how to relax, which estimate to form, how to step. Pure."""

import math
from dataclasses import dataclass
from typing import Literal

from kernels.errors import KernelError
from kernels.topology import Topology

__all__ = [
    "ARITHMETIC",
    "EVERY_ARITHMETIC",
    "ArithmeticName",
    "Estimate",
    "OptimizerName",
    "OptimizerSettings",
    "Order",
    "Relaxation",
    "Rule",
    "Scheme",
]

Scheme = Literal["block", "synchronous"]
Order = Literal["forward", "backward", "alternating"]
Estimate = Literal["centred", "one-sided", "negative", "random-sign", "linearised"]
OptimizerName = Literal["sgd", "adam", "adamw", "muon", "dion"]
ArithmeticName = Literal["fp32", "bf16", "exact-1", "fp16"]

# The classes of every learner of torch.
ARITHMETIC: tuple[ArithmeticName, ...] = ("fp32", "bf16", "exact-1")
# fp16 is states and products in fp16, with sums and parameters in fp32: the Triton kernels alone have it.
EVERY_ARITHMETIC: tuple[ArithmeticName, ...] = (*ARITHMETIC, "fp16")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise KernelError(message)


@dataclass(frozen=True)
class Relaxation:
    """How one phase settles.

    `scheme` "block" moves one layer after another to its exact minimiser; "synchronous" moves all layers at once
    by `step_size` of the way. `order` holds for "block": forward (1..L), backward (L..1), or alternating, which
    begins backward because the start of a phase has already been carried forward. At most `steps` sweeps; with a
    `tolerance` above 0 the phase ends earlier, once no state of the batch changes by more than that.
    """

    scheme: Scheme = "block"
    order: Order = "forward"
    steps: int = 0
    tolerance: float = 0.0
    step_size: float = 1.0

    def __post_init__(self) -> None:
        _expect(
            self.scheme in ("block", "synchronous"),
            f"scheme must be block or synchronous, got {self.scheme!r}.",
        )
        _expect(
            self.order in ("forward", "backward", "alternating"),
            f"order must be forward, backward or alternating, got {self.order!r}.",
        )
        _expect(0 <= self.steps <= 10**6, f"steps must lie in [0, 1000000], got {self.steps}.")
        _expect(
            math.isfinite(self.tolerance) and self.tolerance >= 0,
            f"tolerance must be 0 or more, got {self.tolerance}.",
        )
        _expect(0 < self.step_size <= 1, f"step_size must lie in (0, 1], got {self.step_size}.")


@dataclass(frozen=True)
class Rule:
    """An Equilibrium Propagation rule: the estimate, the nudge `beta` and both relaxations.

    "linearised" is the limit of a vanishing nudge and does not read `beta`. "random-sign" nudges by
    `sign * beta`, the sign being an argument of each step.
    """

    estimate: Estimate
    beta: float
    free: Relaxation
    nudged: Relaxation

    def __post_init__(self) -> None:
        _expect(
            self.estimate in ("centred", "one-sided", "negative", "random-sign", "linearised"),
            f"estimate must be centred, one-sided, negative, random-sign or linearised, got {self.estimate!r}.",
        )
        _expect(
            math.isfinite(self.beta) and self.beta > 0, f"beta must be finite and above 0, got {self.beta}."
        )
        _expect(self.nudged.steps >= 1, "the nudged phase needs at least 1 step, got 0.")

    def check(self, topology: Topology) -> None:
        """Raise KernelError where `topology` cannot be nudged so.

        The nudged state of an "mse" output divides by 1 + beta: |beta| must be below 1, and below .5 where an estimate
        nudges away from the target, since that phase diverges from there on.
        """
        if topology.output != "mse" or self.estimate == "linearised":
            return
        bound = 1.0 if self.estimate == "one-sided" else 0.5
        _expect(
            self.beta < bound,
            f"with an mse output |beta| must be below {bound:g} for the estimate {self.estimate!r} (the nudged output "
            f"divides by 1 + beta), got {self.beta}. Use less than 0.5.",
        )


@dataclass(frozen=True)
class OptimizerSettings:
    """How gradients become steps.

    `rate` is the learning rate; `momentum` that of sgd, muon and dion; `weight_decay` the decoupled decay of adamw
    (per unit of rate), of weights and biases alike; `ns_steps` the Newton-Schulz iterations of muon and `bias_rate`
    the Adam rate of its biases and of dion's. `rank_fraction` is the share of the smaller side of a matrix that dion's
    updates span, and `error_feedback` the share of what they leave out that comes back later. `spectral_cap` bounds
    the spectral norm of every state-to-state weight after each step, feedback weights of its own included. Adam uses
    betas .9 and .999 and epsilon 1e-8 (Kingma & Ba 2015).
    """

    name: OptimizerName = "adam"
    rate: float = 1e-3
    momentum: float = 0.95
    weight_decay: float = 0.0
    ns_steps: int = 5
    bias_rate: float = 1e-3
    spectral_cap: float | None = None
    rank_fraction: float = 0.25
    error_feedback: float = 1.0

    def __post_init__(self) -> None:
        _expect(
            self.name in ("sgd", "adam", "adamw", "muon", "dion"),
            f"optimizer must be sgd, adam, adamw, muon or dion, got {self.name!r}.",
        )
        for field in ("rate", "bias_rate"):
            value = getattr(self, field)
            _expect(math.isfinite(value) and value > 0, f"{field} must be finite and above 0, got {value}.")
        _expect(0 <= self.momentum < 1, f"momentum must lie in [0, 1), got {self.momentum}.")
        _expect(
            math.isfinite(self.weight_decay) and self.weight_decay >= 0,
            f"weight_decay must be 0 or more, got {self.weight_decay}.",
        )
        _expect(1 <= self.ns_steps <= 20, f"ns_steps must lie in [1, 20], got {self.ns_steps}.")
        _expect(
            self.spectral_cap is None or (math.isfinite(self.spectral_cap) and self.spectral_cap > 0),
            f"spectral_cap must be finite and above 0, or None, got {self.spectral_cap}.",
        )
        for field in ("rank_fraction", "error_feedback"):
            value = getattr(self, field)
            lowest = "above 0" if field == "rank_fraction" else "at least 0"
            _expect(
                0 <= value <= 1 and (value > 0 or field == "error_feedback"),
                f"{field} must be {lowest} and at most 1, got {value}.",
            )
