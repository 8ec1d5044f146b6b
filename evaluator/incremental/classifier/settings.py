"""All that a class-incremental classifier is told, and the regimes that are compared. Pure."""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from evaluator.errors import TaskError
from evaluator.incremental.classifier.messages import ClassifierVariant
from evaluator.incremental.settings import Regime
from kernels.growth import GrowthLimits

__all__ = [
    "CLASSIFIER_DIGITS",
    "CLASSIFIER_MNIST",
    "CLASSIFIER_REGIMES",
    "SIZED_AS",
    "ClassifierSettings",
    "shortened",
]

CLASSIFIER_REGIMES: Mapping[ClassifierVariant, Regime] = MappingProxyType(
    {
        "ndl": Regime(grows=True, source="none"),
        "cl": Regime(grows=False, source="none"),
        "ndl+ir": Regime(grows=True, source="intrinsic"),
        "cl+ir": Regime(grows=False, source="intrinsic"),
        # All classes in one stage: what there is to be reached.
        "joint": Regime(grows=False, source="none"),
    }
)
# The growing regime that says how large a fixed one is from its first stage on.
SIZED_AS: Mapping[ClassifierVariant, ClassifierVariant] = MappingProxyType(
    {"cl": "ndl", "cl+ir": "ndl+ir", "joint": "ndl+ir"}
)

_SMOKE_SHARE = 4


class ClassifierSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One experiment: network, phases, growth and replay. There is no threshold here: it comes from the base's errors.

    `widths` of the hidden layers before growth, of which the first, fed by the input, may gain `cap` units, `class_cap`
    for one class. `output`, `beta`, `gain` and the sweeps of both phases as in the genes. Adam steps at `rate` in
    batches of `batch`. The base classes are learned for `base_epochs`. A round of growth has `plasticity_epochs` of the
    new units on the outliers at `plasticity_scale` times the rate, then `stability_epochs` of all weights on the
    mixture at `stability_scale` times it. Growing or not, a class ends with `learn_epochs` of all weights on the
    mixture. Joint training takes `joint_epochs`.

    An outlier's cost lies above `margin` times the `quantile` of the base classes' costs, or half of what chance
    costs where that is less. Replay has `replay_ratio` times as many samples of each old class as the new one has,
    drawn from Gaussians of the `code_side`^2 lowest cosine frequencies of the images, `side` pixels wide; `new_from`
    says whether the new class joins them as it is, or drawn from its own Gaussian. Raises TaskError for values outside
    their ranges.
    """

    side: int
    code_side: int
    widths: tuple[int, ...] = (32,)
    cap: int = 224
    class_cap: int = 28
    output: Literal["ce", "mse"] = "ce"
    beta: float = 1.0
    gain: float = 0.5
    free_steps: int = 0
    nudged_steps: int = 1
    rate: float = 4e-3
    batch: int = 32
    base_epochs: int = 40
    plasticity_epochs: int = 15
    plasticity_scale: float = 1.0
    stability_epochs: int = 5
    stability_scale: float = 0.1
    learn_epochs: int = 40
    joint_epochs: int = 40
    base: tuple[int, ...] = (1, 7)
    order_seed: int | None = None
    quantile: float = 0.95
    margin: float = 10.0
    max_outlier_fraction: float = 0.1
    new_fraction: float = 0.05
    patience: int = 4
    improvement: float = 0.01
    selectivity: float = 0.6
    new_from: Literal["replay", "data"] = "replay"
    replay_ratio: float = 1.0
    shrinkage: float = 0.02
    floor: float = 1e-6

    def __post_init__(self) -> None:
        whole = min(self.base_epochs, self.plasticity_epochs, self.stability_epochs, self.learn_epochs)
        scales = 0 < self.plasticity_scale <= 1 and 0 < self.stability_scale <= 1
        if not (1 <= self.code_side <= self.side and self.widths and min(self.widths) >= 1):
            raise TaskError(
                "code_side must lie between 1 and side and every width be at least 1, got "
                f"{self.code_side}, {self.side} and {self.widths}."
            )
        if whole < 0 or self.joint_epochs < 0 or not scales or not self.replay_ratio > 0:
            raise TaskError(
                f"epochs must be at least 0, scales lie in (0, 1] and replay_ratio above 0, got {self}."
            )

    @property
    def limits(self) -> GrowthLimits:
        """What bounds the growth of the first hidden layer."""
        return GrowthLimits(
            cap=self.cap,
            class_cap=self.class_cap,
            max_outlier_fraction=self.max_outlier_fraction,
            new_fraction=self.new_fraction,
            patience=self.patience,
            improvement=self.improvement,
        )

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the settings as JSON with sorted keys."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def shortened(settings: ClassifierSettings) -> ClassifierSettings:
    """The settings with a quarter of the epochs in every phase, rounded up: for smoke runs."""
    names = ("base_epochs", "plasticity_epochs", "stability_epochs", "learn_epochs", "joint_epochs")
    return msgspec.structs.replace(
        settings, **{name: -(-getattr(settings, name) // _SMOKE_SHARE) for name in names}
    )


# Digits of 8x8 pixels: all five regimes in about half a minute of one core.
CLASSIFIER_DIGITS = ClassifierSettings(side=8, code_side=8)

# 28x28 pixels, of which the 14x14 lowest frequencies are remembered.
CLASSIFIER_MNIST = ClassifierSettings(
    side=28,
    code_side=14,
    widths=(64,),
    cap=448,
    class_cap=56,
    rate=2e-3,
    batch=64,
    base_epochs=10,
    plasticity_epochs=5,
    stability_epochs=2,
    learn_epochs=10,
    joint_epochs=10,
    new_fraction=0.005,
)
