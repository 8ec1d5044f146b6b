"""All that a neurogenesis experiment is told, and the regimes that it compares. Pure."""

import hashlib
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from evaluator.errors import TaskError
from evaluator.incremental.data import ReplaySource
from kernels.growth import GrowthLimits, NewUnits, Schedule

__all__ = [
    "DIGITS",
    "MNIST",
    "REGIMES",
    "VARIANTS",
    "NeurogenesisSettings",
    "Phases",
    "Regime",
    "Variant",
    "settings_sha256",
]

Variant: TypeAlias = Literal["cl", "ndl", "cl+ir", "ndl+ir", "cl+data", "ndl+data"]


class Regime(msgspec.Struct, frozen=True):
    """Whether layers grow, and what is mixed into the data of a new class."""

    grows: bool
    source: ReplaySource


REGIMES: MappingProxyType[Variant, Regime] = MappingProxyType(
    {
        "ndl": Regime(grows=True, source="none"),
        "cl": Regime(grows=False, source="none"),
        "ndl+ir": Regime(grows=True, source="intrinsic"),
        "cl+ir": Regime(grows=False, source="intrinsic"),
        "ndl+data": Regime(grows=True, source="data"),
        "cl+data": Regime(grows=False, source="data"),
    }
)
# The four of the paper, growth first: it says how large the fixed networks are.
VARIANTS: tuple[Variant, ...] = ("ndl", "cl", "ndl+ir", "cl+ir")


class Phases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a class is learned where no replay holds the old ones: see `NeurogenesisSettings`."""

    plasticity: Schedule
    consolidate: Schedule
    slow: float


class NeurogenesisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One experiment: sizes, phases, growth and replay. There is no threshold here: those come from the data.

    `sizes` of the network that learns the base classes, inputs first. The base is learned a level at a time by
    `pretrain`, then whole by `finetune`. A regime that grows learns a class by `plasticity`, whose decoder moves at
    `slow` times its rate, by `stability_epochs` of all at `slow` times that rate, and by `next_level` for the level
    above; a fixed one by `learn`. Then both may `consolidate` the whole network (0 epochs: not).
    `caps` and `class_caps` bound the units added to each level, in all and for one class. `quantile` and
    `margin` make thresholds of the base's errors. With "paper" replay has `replay_ratio` times as many samples of
    each old class as the new one has, with "balanced" of all old classes together; `refresh_samples` a class are
    drawn for the statistics after each stage. `alone` are the phases of regimes without replay; None: the same ones.
    Raises TaskError where lengths do not match.
    """

    sizes: tuple[int, ...]
    caps: tuple[int, ...]
    class_caps: tuple[int, ...]
    pretrain: Schedule
    finetune: Schedule
    plasticity: Schedule
    stability_epochs: int
    next_level: Schedule
    learn: Schedule
    consolidate: Schedule
    slow: float = 0.01
    base: tuple[int, ...] = (1, 7)
    order_seed: int | None = None
    quantile: float = 0.95
    margin: float = 1.0
    max_outlier_fraction: float = 0.1
    new_fraction: float = 0.05
    patience: int = 3
    improvement: float = 0.01
    new_units: NewUnits = "outlier"
    replay_mode: Literal["paper", "balanced"] = "paper"
    replay_ratio: float = 1.0
    refresh_samples: int = 1000
    shrinkage: float = 0.0
    floor: float = 1e-6
    alone: Phases | None = None

    def __post_init__(self) -> None:
        levels = len(self.sizes) - 1
        if levels < 1 or len(self.caps) != levels or len(self.class_caps) != levels:
            raise TaskError(
                f"{levels} levels (sizes {self.sizes}) need one cap and one class cap each, got {self.caps} and "
                f"{self.class_caps}."
            )
        slows = (self.slow,) if self.alone is None else (self.slow, self.alone.slow)
        ranges = all(0 < slow <= 1 for slow in slows) and self.replay_ratio > 0 and self.stability_epochs >= 0
        if not ranges or self.refresh_samples < 2:
            raise TaskError(
                "slow must lie in (0, 1], replay_ratio above 0, stability_epochs from 0 and refresh_samples from 2, "
                f"got {slows}, {self.replay_ratio}, {self.stability_epochs} and {self.refresh_samples}."
            )

    def of_source(self, source: ReplaySource) -> "NeurogenesisSettings":
        """The settings that a regime goes by which mixes this into the data of a new class."""
        if source != "none" or self.alone is None:
            return self
        alone = self.alone
        return msgspec.structs.replace(
            self, plasticity=alone.plasticity, consolidate=alone.consolidate, slow=alone.slow, alone=None
        )

    @property
    def capacities(self) -> tuple[int, ...]:
        """Units that each layer may come to have, inputs first."""
        return (
            self.sizes[0],
            *(size + cap for size, cap in zip(self.sizes[1:], self.caps, strict=True)),
        )

    @property
    def stability(self) -> Schedule:
        """The stability phase: the plasticity phase's rate times `slow`."""
        return replace(self.plasticity, epochs=self.stability_epochs, rate=self.plasticity.rate * self.slow)

    def limits(self, level: int) -> GrowthLimits:
        """What bounds the growth of a level, from 0."""
        return GrowthLimits(
            cap=self.caps[level],
            class_cap=self.class_caps[level],
            max_outlier_fraction=self.max_outlier_fraction,
            new_fraction=self.new_fraction,
            patience=self.patience,
            improvement=self.improvement,
        )


def settings_sha256(settings: NeurogenesisSettings) -> str:
    """SHA-256 (hex) of the settings as JSON with sorted keys."""
    return hashlib.sha256(msgspec.json.encode(settings, order="sorted")).hexdigest()


# Digits of 8x8 pixels: all four regimes within a minute of one core.
DIGITS = NeurogenesisSettings(
    sizes=(64, 40, 32, 24, 12),
    caps=(48, 36, 24, 12),
    class_caps=(12, 9, 6, 3),
    pretrain=Schedule(epochs=60, rate=3e-3, batch=32, corruption=0.1),
    finetune=Schedule(epochs=100, rate=3e-3, batch=32),
    plasticity=Schedule(epochs=20, rate=0.1, batch=32),
    stability_epochs=10,
    next_level=Schedule(epochs=10, rate=1e-3, batch=32),
    learn=Schedule(epochs=40, rate=1e-3, batch=32),
    consolidate=Schedule(epochs=60, rate=3e-3, batch=32),
    refresh_samples=500,
    shrinkage=0.1,
)

# The paper's network on 28x28 pixels.
MNIST = NeurogenesisSettings(
    sizes=(784, 200, 100, 75, 20),
    caps=(100, 100, 100, 20),
    class_caps=(25, 25, 25, 5),
    pretrain=Schedule(epochs=10, rate=1e-3, batch=100, corruption=0.1),
    finetune=Schedule(epochs=20, rate=1e-3, batch=100),
    plasticity=Schedule(epochs=3, rate=0.1, batch=100),
    stability_epochs=2,
    next_level=Schedule(epochs=2, rate=1e-3, batch=100),
    learn=Schedule(epochs=5, rate=1e-3, batch=100),
    consolidate=Schedule(epochs=10, rate=1e-3, batch=100),
    new_fraction=0.002,
    refresh_samples=4000,
    shrinkage=0.1,
    # Chosen on validation: new units that learn a tenth as fast leave the old classes' reconstructions be.
    alone=Phases(
        plasticity=Schedule(epochs=3, rate=0.01, batch=100),
        consolidate=Schedule(epochs=30, rate=3e-3, batch=100),
        slow=0.1,
    ),
)
