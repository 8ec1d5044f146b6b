"""Whether errors fall with size as a power law, from points that were measured elsewhere. Pure."""

import msgspec
import numpy as np

from evaluator.probes.subject import Samples, Subject, check
from kernels.probes.intervals import Interval
from kernels.probes.power_law import fit_power_law

__all__ = ["Scaling", "ScalingSettings", "scaling"]


class ScalingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Measured points: `sizes` (parameters, samples or widths) and `errors`, both above 0; a size may repeat."""

    sizes: tuple[float, ...]
    errors: tuple[float, ...]
    least_explained: float = 0.9
    rounds: int = 1000

    def __post_init__(self) -> None:
        check(len(self.sizes) == len(self.errors), f"{len(self.sizes)} errors", len(self.errors))
        check(0 < self.least_explained <= 1, "least_explained in (0, 1]", self.least_explained)
        check(self.rounds >= 100, "100 rounds of resampling or more", self.rounds)


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """The fit error = factor * size^-exponent, or why there is none.

    `explained` is R squared of log error. `verdict` is "power law" or "no power law: " and the reason; the numbers of
    the fit stand either way, to be looked at and not to be quoted.
    """

    exponent: Interval
    factor: float
    explained: float
    points: int
    verdict: str


def scaling(_network: Subject, _data: Samples, seed: bytes, settings: ScalingSettings) -> Scaling:
    """Fit the points in `settings`; the network and its data are not read."""
    law = fit_power_law(
        np.array(settings.sizes),
        np.array(settings.errors),
        seed,
        least_explained=settings.least_explained,
        rounds=settings.rounds,
    )
    return Scaling(
        exponent=law.exponent,
        factor=law.factor,
        explained=law.explained,
        points=len(settings.sizes),
        verdict="power law" if law.holds else f"no power law: {law.reason}",
    )
