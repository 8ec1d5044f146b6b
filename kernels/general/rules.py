"""What the general learner can be told beyond a `Rule`: feedback, activation, sparsity, precision, sleep. Pure."""

import math
from dataclasses import dataclass
from typing import Literal

from kernels.errors import KernelError
from kernels.rules import Relaxation

__all__ = ["ESTIMATES", "FEEDBACKS", "Feedback", "GeneralEstimate", "GeneralRule", "Sleep", "WeightBits"]

GeneralEstimate = Literal[
    "centred",
    "one-sided",
    "negative",
    "random-sign",
    "holomorphic",
    "coupled",
    "contrastive-hebbian",
    "continual",
    "predictive-coding",
    "backprop",
]
ESTIMATES: tuple[GeneralEstimate, ...] = (
    "centred", "one-sided", "negative", "random-sign", "holomorphic", "coupled", "contrastive-hebbian", "continual",
    "predictive-coding", "backprop",
)  # fmt: skip
Feedback = Literal["tied", "fixed", "mirror", "kolen-pollack", "homeostatic"]
FEEDBACKS: tuple[Feedback, ...] = ("tied", "fixed", "mirror", "kolen-pollack", "homeostatic")
WeightBits = Literal[32, 8, 2]

# Rules whose output has to be a state inside the energy: they hold it.
HOLDING = ("coupled", "contrastive-hebbian")
# Rules in which each nudge is a number, so that -beta must not reach -1 where the output is a state.
PULLING = ("centred", "one-sided", "negative", "random-sign", "continual", "holomorphic")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise KernelError(message)


@dataclass(frozen=True)
class Sleep:
    """Negative learning from noise: every `every` steps the network settles freely from noise, and unlearns it.

    W <- W - rate <s_l s_{l-1}^T>, after `steps` sweeps: Crick & Mitchison (1983), Hopfield, Feinstein & Palmer (1983).
    """

    every: int
    rate: float
    steps: int = 4

    def __post_init__(self) -> None:
        _expect(self.every >= 1, f"sleep comes every 1 step or more, got {self.every}.")
        _expect(
            math.isfinite(self.rate) and self.rate > 0, f"the rate of sleep must be above 0, got {self.rate}."
        )
        _expect(self.steps >= 1, f"sleep settles for 1 sweep or more, got {self.steps}.")


@dataclass(frozen=True)
class GeneralRule:
    """A learning rule of the family, and what surrounds it.

    `beta` is the strength of the nudge, for "holomorphic" the radius of its circle of `points`; "contrastive-hebbian"
    and "predictive-coding" do not read it. `feedback` other than "tied" gives the way down weights of its own, under
    the estimate "centred": "fixed" ones stay random (Lillicrap et al. 2016); "mirror" ones follow W by the correlation
    of noise sent up with what arrives, `feedback_rate` of the way a step (Akrout et al. 2019); "kolen-pollack" ones
    take every step of W while both decay by `feedback_rate` (Kolen & Pollack 1994); "homeostatic" ones learn by the
    rule itself and by `homeostasis` (Laborieux & Zenke 2023). `keep` is the share of a hidden layer's units that may be
    active at once. `damping` and `momentum` shape the way of a state to its goal. `weight_bits` 8 and 2 (ternary) are
    the precision of the weights that states meet; what learns stays float32.

    "backprop" is the baseline, the exact gradient of one forward pass with rectified units (`activation` is not read):
    nothing of it is local, and of the rest `keep` and `weight_bits` alone have a meaning.
    """

    estimate: GeneralEstimate
    beta: float
    free: Relaxation
    nudged: Relaxation
    points: int = 4
    feedback: Feedback = "tied"
    feedback_rate: float = 0.05
    homeostasis: float = 0.1
    activation: str = "clip"
    keep: float = 1.0
    damping: float = 1.0
    momentum: float = 0.0
    weight_bits: WeightBits = 32
    sleep: Sleep | None = None

    def __post_init__(self) -> None:
        names = ", ".join(ESTIMATES)
        _expect(self.estimate in ESTIMATES, f"estimate must be one of {names}, got {self.estimate!r}.")
        _expect(
            math.isfinite(self.beta) and self.beta > 0, f"beta must be finite and above 0, got {self.beta}."
        )
        _expect(self.nudged.steps >= 1, "the nudged phase needs at least 1 step, got 0.")
        ways = ", ".join(FEEDBACKS)
        _expect(self.feedback in FEEDBACKS, f"feedback must be one of {ways}, got {self.feedback!r}.")
        _expect(
            self.feedback == "tied" or self.estimate == "centred",
            f"a feedback of its own is for the estimate centred, got {self.estimate!r}. Use feedback tied.",
        )
        _expect(0 < self.feedback_rate < 1, f"feedback_rate must lie in (0, 1), got {self.feedback_rate}.")
        _expect(
            math.isfinite(self.homeostasis) and self.homeostasis >= 0,
            f"homeostasis must be 0 or more, got {self.homeostasis}.",
        )
        _expect(0 < self.keep <= 1, f"keep must lie in (0, 1], got {self.keep}.")
        _expect(0 < self.damping <= 1, f"damping must lie in (0, 1], got {self.damping}.")
        _expect(0 <= self.momentum < 1, f"momentum must lie in [0, 1), got {self.momentum}.")
        _expect(self.weight_bits in (32, 8, 2), f"weight_bits must be 32, 8 or 2, got {self.weight_bits}.")
        _expect(
            self.estimate != "holomorphic" or self.activation != "clip",
            "holomorphic Equilibrium Propagation needs a smooth activation. Use logistic or tanh, got 'clip'.",
        )

    def check(self, output: str) -> None:
        """Raise KernelError where a network with this `output` ("ce" or "mse") cannot learn so."""
        if self.estimate in HOLDING and output != "mse":
            raise KernelError(
                f"{self.estimate} holds the output, which must be a state inside the energy: expected output 'mse', "
                f"got {output!r}."
            )
        if output == "mse" and self.estimate in PULLING:
            bound = 1.0 if self.estimate in ("one-sided", "continual") else 0.5
            _expect(
                self.beta < bound,
                f"with an mse output beta must be below {bound:g} for the estimate {self.estimate!r} (the nudged "
                f"output divides by 1 + beta), got {self.beta}. Use less than 0.5.",
            )
