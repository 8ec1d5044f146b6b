"""What is remembered of each class: mean and covariance of its codes, from which codes are drawn again. Pure.

Draelos et al. (2017), section on intrinsic replay: Decode(mu_c + N(0, I) chol(Sigma_c)). Nothing here knows what
made the codes: an autoencoder's top layer and a settled hidden layer do alike.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError
from kernels.growth.streams import Stream

__all__ = ["Moments", "ReplayStatistics", "conditioned_spectrum"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean (d,) and scatter (d, d) of codes: all that their covariance needs, in a form that can be merged.

    The scatter is the sum of outer products of deviations from the mean. Raises KernelError for shapes that do
    not belong together.
    """

    count: int
    mean: Floats
    scatter: Floats

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.scatter.shape != (len(self.mean), len(self.mean)) or self.count < 0:
            raise KernelError(
                f"moments are a count of at least 0, a mean (d,) and a scatter (d, d), got {self.count}, "
                f"{self.mean.shape} and {self.scatter.shape}. Build them with Moments.of(codes)."
            )

    @classmethod
    def empty(cls, width: int) -> "Moments":
        """Moments of no codes of this width: merging them changes nothing."""
        return cls(0, np.zeros(width), np.zeros((width, width)))

    @classmethod
    def of(cls, codes: NDArray[np.floating]) -> "Moments":
        """Moments of codes (n, d), in float64; raises KernelError unless they are finite."""
        values = np.asarray(codes, dtype=np.float64)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise KernelError(
                f"codes must be finite numbers (n, d), got an array {values.shape} with "
                f"{np.count_nonzero(~np.isfinite(values))} that are not finite. Encode again, at a lower rate."
            )
        if not len(values):
            return cls.empty(values.shape[1])
        mean = values.mean(axis=0)
        deviations = values - mean
        return cls(len(values), mean, deviations.T @ deviations)

    def merged(self, other: "Moments") -> "Moments":
        """Moments of both sets of codes together; Chan, Golub & LeVeque (1983), eq. 2.1, Welford's step for many.

        Raises KernelError where the codes have different widths.
        """
        if len(self.mean) != len(other.mean):
            raise KernelError(
                f"moments of codes {len(self.mean)} and {len(other.mean)} wide cannot be merged. "
                "Encode both sets with one network."
            )
        if not (self.count and other.count):
            return self if self.count else other
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    def updated(self, codes: NDArray[np.floating]) -> "Moments":
        """Moments after `codes` (n, d) came in as well."""
        return self.merged(Moments.of(codes))

    @property
    def covariance(self) -> Floats:
        """Unbiased covariance (d, d), as numpy.cov gives it; zeros below two codes."""
        if self.count < 2:
            return np.zeros_like(self.scatter)
        return self.scatter / (self.count - 1)


def conditioned_spectrum(covariance: Floats, *, shrinkage: float, floor: float) -> tuple[Floats, Floats]:
    """Eigenvalues (d,) and eigenvectors (d, d) of (1 - s) Sigma + s tr(Sigma)/d I, none below `floor`.

    Works for a covariance of any rank, one of zeros included. Ledoit & Wolf (2004), eq. 14, with `shrinkage` s.
    """
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2.0)
    values = (1.0 - shrinkage) * values + shrinkage * values.mean()
    return np.maximum(values, floor), vectors


@dataclass(frozen=True, eq=False)
class ReplayStatistics:
    """One Gaussian of codes for each class seen, to draw from and to tell classes apart by.

    `shrinkage` in [0, 1] pulls each covariance towards a multiple of the identity; no eigenvalue is below `floor`
    (in squared units of the codes). Raises KernelError for other values, or classes whose codes differ in width.
    """

    classes: Mapping[int, Moments]
    shrinkage: float = 0.0
    floor: float = 1e-6

    def __post_init__(self) -> None:
        if not (0.0 <= self.shrinkage <= 1.0 and math.isfinite(self.floor) and self.floor > 0.0):
            raise KernelError(
                f"shrinkage must lie in [0, 1] and floor above 0, got {self.shrinkage} and {self.floor}."
            )
        widths = {len(moments.mean) for moments in self.classes.values()}
        if len(widths) > 1:
            raise KernelError(
                f"the codes of all classes must be equally wide, got widths {sorted(widths)}. "
                "Encode every class anew after a layer has grown."
            )

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes, ascending."""
        return tuple(sorted(self.classes))

    @property
    def width(self) -> int:
        """Numbers in a code; raises KernelError while there is no class."""
        return len(self.classes[self._labels_or_raise()[0]].mean)

    def updated(self, label: int, codes: NDArray[np.floating]) -> "ReplayStatistics":
        """These statistics with more codes (n, d) of a class, old or new."""
        more = Moments.of(codes)
        known = self.classes.get(label)
        moments = more if known is None else known.merged(more)
        return replace(self, classes={**self.classes, label: moments})

    def merged(self, other: "ReplayStatistics") -> "ReplayStatistics":
        """The statistics of both together; options are this one's."""
        classes = dict(self.classes)
        for label, moments in other.classes.items():
            classes[label] = classes[label].merged(moments) if label in classes else moments
        return replace(self, classes=classes)

    def sample(self, label: int, n: int, rng: Stream) -> Floats:
        """`n` codes (n, d) of one class: mu + z Sigma^(1/2).

        The symmetric root has the distribution that the Cholesky factor has, exists for every rank, and does
        not depend on the signs that an eigensolver chooses.
        """
        if label not in self.classes:
            raise KernelError(f"class {label} has no statistics; there are classes {list(self.labels)}.")
        return self.classes[label].mean + rng.normal((n, self.width)) @ self._roots[label]

    def sample_batch(
        self, n: int, rng: Stream, *, weights: Mapping[int, float] | None = None
    ) -> tuple[Floats, NDArray[np.int64]]:
        """`n` codes (n, d) and their classes (n,), each class drawn with its weight (None: all alike).

        Raises KernelError while there is no class, and for weights of other classes, below 0 or all zero.
        """
        labels = self._labels_or_raise()
        edges = np.cumsum(self._shares(weights))
        drawn = np.searchsorted(edges, rng.uniform((n,)) * edges[-1], side="right")
        y = np.asarray(labels, dtype=np.int64)[drawn]
        codes = np.empty((n, self.width))
        for label in labels:
            rows = np.flatnonzero(y == label)
            codes[rows] = self.sample(label, len(rows), rng)
        return codes, y

    def log_density(self, codes: NDArray[np.floating]) -> Floats:
        """Logarithms of each class's Gaussian density (n, classes) at codes (n, d), classes ascending."""
        values = np.asarray(codes, dtype=np.float64)
        columns = []
        for label in self._labels_or_raise():
            spectrum, vectors = self._spectra[label]
            projected = (values - self.classes[label].mean) @ vectors
            distance = (projected * projected / spectrum).sum(axis=1)
            columns.append(-0.5 * (distance + np.log(2.0 * np.pi * spectrum).sum()))
        return np.stack(columns, axis=1)

    def classify(self, codes: NDArray[np.floating]) -> NDArray[np.int64]:
        """The likeliest class (n,) of each code (n, d), all classes taken for equally frequent."""
        best: NDArray[np.intp] = np.argmax(self.log_density(codes), axis=1)
        return np.asarray(self.labels, dtype=np.int64)[best]

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """All of it as arrays by name, for npz or safetensors."""
        labels = self._labels_or_raise()
        return {
            "labels": np.asarray(labels, dtype=np.int64),
            "counts": np.asarray([self.classes[label].count for label in labels], dtype=np.int64),
            "means": np.stack([self.classes[label].mean for label in labels]),
            "scatters": np.stack([self.classes[label].scatter for label in labels]),
            "options": np.asarray([self.shrinkage, self.floor]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "ReplayStatistics":
        """The statistics that `to_arrays` wrote, bit for bit; raises KernelError where an array is missing."""
        missing = {"labels", "counts", "means", "scatters", "options"} - set(arrays)
        if missing:
            raise KernelError(
                f"replay statistics lack {', '.join(sorted(missing))}. Write them with to_arrays."
            )
        means = np.asarray(arrays["means"], dtype=np.float64)
        scatters = np.asarray(arrays["scatters"], dtype=np.float64)
        shrinkage, floor = np.asarray(arrays["options"], dtype=np.float64).tolist()
        counts = np.asarray(arrays["counts"], dtype=np.int64).tolist()
        labels = np.asarray(arrays["labels"], dtype=np.int64).tolist()
        classes = {
            label: Moments(count, mean, scatter)
            for label, count, mean, scatter in zip(labels, counts, means, scatters, strict=True)
        }
        return cls(classes, shrinkage, floor)

    def to_json(self) -> str:
        """All of it as JSON; its numbers are written so that they are read back bit for bit."""
        return json.dumps({name: array.tolist() for name, array in self.to_arrays().items()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ReplayStatistics":
        """The statistics that `to_json` wrote."""
        return cls.from_arrays({name: np.asarray(value) for name, value in json.loads(text).items()})

    @cached_property
    def _spectra(self) -> dict[int, tuple[Floats, Floats]]:
        return {
            label: conditioned_spectrum(moments.covariance, shrinkage=self.shrinkage, floor=self.floor)
            for label, moments in self.classes.items()
        }

    @cached_property
    def _roots(self) -> dict[int, Floats]:
        return {label: (v * np.sqrt(values)) @ v.T for label, (values, v) in self._spectra.items()}

    def _labels_or_raise(self) -> tuple[int, ...]:
        if not self.classes:
            raise KernelError("no class has been seen yet. Add codes with updated(label, codes).")
        return self.labels

    def _shares(self, weights: Mapping[int, float] | None) -> Floats:
        if weights is None:
            return np.ones(len(self.classes))
        shares = np.asarray([weights.get(label, 0.0) for label in self.labels], dtype=np.float64)
        # Written so that NaN, which fails every comparison, is refused too.
        if set(weights) - set(self.classes) or not (shares >= 0).all() or not 0 < shares.sum() < math.inf:
            raise KernelError(
                f"weights must be numbers of at least 0, not all zero, of classes {list(self.labels)}, "
                f"got {dict(weights)}."
            )
        return shares
