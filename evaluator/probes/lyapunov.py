"""Whether settling brings neighbouring states together: the largest Lyapunov exponent of the free sweep. Pure."""

import math
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np

from evaluator.probes.subject import Samples, Subject, check
from kernels import Relaxation
from kernels.probes.exponent import exponents
from kernels.probes.intervals import Interval, student

__all__ = ["Lyapunov", "LyapunovSettings", "lyapunov"]


class LyapunovSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples to follow, sweeps before and while growth is counted; the scheme is the rule's, unless named.

    A synchronous sweep is a map that may oscillate or be chaotic; block sweeps never raise the energy.
    """

    samples: int = 16
    warmup: int = 50
    sweeps: int = 200
    scheme: Literal["rule", "block", "synchronous"] = "rule"

    def __post_init__(self) -> None:
        check(min(self.samples, self.sweeps) >= 1 and self.warmup >= 0, "positive samples and sweeps", self)


class Lyapunov(msgspec.Struct, frozen=True, kw_only=True):
    """Exponents in nats a sweep, by sample, without the `removed` ones whose sweeps forget every displacement.

    `verdict`: "contracting" where the interval of the mean lies below 0 or every sample is removed, "expanding" where
    it lies above, "critical" where it holds 0. `mean` is None where fewer than two samples have an exponent; the
    verdict is then that of the only one.
    """

    exponents: tuple[float, ...]
    removed: int
    mean: Interval | None
    verdict: Literal["contracting", "critical", "expanding"]


def lyapunov(network: Subject, data: Samples, seed: bytes, settings: LyapunovSettings) -> Lyapunov:
    """Follow each sample's free sweeps from its feed-forward state, with a tangent.

    Raises DivergedError where the states themselves run away.
    """
    relaxation: Relaxation = network.free
    if settings.scheme != "rule":
        relaxation = replace(relaxation, scheme=settings.scheme)
    data = data.first(settings.samples)
    found: list[float] = []
    for row in range(len(data.x)):
        one = Samples(data.x[row : row + 1], data.y[row : row + 1])
        advance, start = network.settle_map(one, relaxation)
        found += exponents(advance, start, steps=settings.sweeps, warmup=settings.warmup, seed=seed)
    finite = tuple(value for value in found if math.isfinite(value))
    mean = student(np.array(finite)) if len(finite) > 1 else None
    return Lyapunov(
        exponents=finite,
        removed=len(found) - len(finite),
        mean=mean,
        verdict=_verdict(finite, mean),
    )


def _verdict(
    finite: tuple[float, ...], mean: Interval | None
) -> Literal["contracting", "critical", "expanding"]:
    low = mean.low if mean else (finite[0] if finite else -math.inf)
    high = mean.high if mean else (finite[0] if finite else -math.inf)
    if high < 0:
        return "contracting"
    return "expanding" if low > 0 else "critical"
