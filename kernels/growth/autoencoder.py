"""Stacked autoencoders whose layers can widen without moving a bit of what they compute. Pure.

Every level holds arrays at its capacity, of which the first `sizes` units are in use. A unit not in use has zero
outgoing weights, and so has one just inserted: the same products of the same shapes are summed before and after.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelError
from kernels.growth.streams import Stream

__all__ = ["CHUNK", "Level", "Stack", "initial_stack", "sigmoid"]

Array: TypeAlias = NDArray[np.floating]
_Map: TypeAlias = Callable[[Array], Array]

# Rows that go through the network at once: what bounds memory. It has no part in any result's meaning.
CHUNK = 1024


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """1 / (1 + exp(-x)), element by element; never overflows. Written to `out` where that is given."""
    # The exponential of at most 88 is finite in float32, and beyond it the sigmoid is 0 to within 1e-38.
    result = np.clip(x, -88.0, 88.0, out=out)
    np.negative(result, out=result)
    np.exp(result, out=result)
    result += 1.0
    return np.reciprocal(result, out=result)


@dataclass(frozen=True, eq=False)
class Level:
    """One encoder layer (out, in) and the decoder layer (in, out) that mirrors it, with biases, at capacity."""

    encoder: Array
    encoder_bias: Array
    decoder: Array
    decoder_bias: Array

    def copy(self) -> "Level":
        """The same numbers in arrays of their own."""
        return Level(
            self.encoder.copy(), self.encoder_bias.copy(), self.decoder.copy(), self.decoder_bias.copy()
        )


@dataclass(frozen=True, eq=False)
class Stack:
    """An autoencoder of `len(sizes) - 1` levels: sizes[0] inputs, sizes[-1] numbers in its code.

    Sigmoid units throughout; inputs lie in [0, 1]. Level k (from 0) leads from sizes[k] to sizes[k + 1] units.
    """

    sizes: tuple[int, ...]
    levels: tuple[Level, ...]

    @property
    def depth(self) -> int:
        """How many levels there are."""
        return len(self.levels)

    @property
    def capacities(self) -> tuple[int, ...]:
        """Units that each layer has room for, the inputs first."""
        return (self.sizes[0], *(level.encoder.shape[0] for level in self.levels))

    def encode(self, x: Array, depth: int | None = None) -> Array:
        """The code (n, sizes[depth]) of inputs (n, sizes[0]) after `depth` levels (None: all)."""
        levels = self._levels(depth)
        code = self._by_chunks(x, lambda chunk: self._up(chunk, levels))
        return code[:, : self.sizes[levels]]

    def decode(self, codes: Array, depth: int | None = None) -> Array:
        """The input (n, sizes[0]) that a code (n, sizes[depth]) of `depth` levels (None: all) stands for."""
        levels = self._levels(depth)
        if codes.ndim != 2 or codes.shape[1] != self.sizes[levels]:
            raise KernelError(
                f"codes of {levels} levels must be (n, {self.sizes[levels]}), got {codes.shape}."
            )
        padded = np.zeros((len(codes), self.capacities[levels]))
        padded[:, : codes.shape[1]] = codes
        return self._by_chunks(padded, lambda chunk: self._down(chunk, levels))

    def reconstruct(self, x: Array, depth: int | None = None) -> Array:
        """Inputs (n, sizes[0]) encoded by `depth` levels (None: all) and decoded again."""
        levels = self._levels(depth)
        return self._by_chunks(x, lambda chunk: self._down(self._up(chunk, levels), levels))

    def errors(self, x: Array, depth: int | None = None) -> NDArray[np.float64]:
        """RE_{G,L}: each input's mean squared error (n,) when reconstructed from the code of `depth` levels.

        Draelos et al. (2017), eq. 1, as a mean over inputs instead of a sum.
        """
        difference = self.reconstruct(x, depth).astype(np.float64) - x
        return np.asarray((difference * difference).mean(axis=1))

    def active(self, level: int) -> Level:
        """Views of the part of a level that is in use; writing to them writes to this stack."""
        below, above = self.sizes[level], self.sizes[level + 1]
        full = self.levels[level]
        return Level(
            full.encoder[:above, :below],
            full.encoder_bias[:above],
            full.decoder[:below, :above],
            full.decoder_bias[:below],
        )

    def with_level(self, level: int, changed: Level) -> "Stack":
        """This stack with one level's arrays replaced."""
        levels = (*self.levels[:level], changed, *self.levels[level + 1 :])
        return Stack(self.sizes, levels)

    def copy(self) -> "Stack":
        """The same numbers in arrays of their own."""
        return Stack(self.sizes, tuple(level.copy() for level in self.levels))

    def _levels(self, depth: int | None) -> int:
        levels = self.depth if depth is None else depth
        if not 1 <= levels <= self.depth:
            raise KernelError(f"this stack has levels 1 to {self.depth}, got {levels}.")
        return levels

    def _by_chunks(self, x: Array, function: _Map) -> Array:
        dtype = self.levels[0].encoder.dtype
        chunks = [
            function(x[start : start + CHUNK].astype(dtype, copy=False)) for start in range(0, len(x), CHUNK)
        ]
        # No rows at all still have a width, which the function knows.
        return np.concatenate(chunks) if chunks else function(x.astype(dtype))

    def _up(self, x: Array, levels: int) -> Array:
        for level in self.levels[:levels]:
            x = x @ level.encoder.T
            x += level.encoder_bias
            sigmoid(x, out=x)
        return x

    def _down(self, code: Array, levels: int) -> Array:
        for level in reversed(self.levels[:levels]):
            code = code @ level.decoder.T
            code += level.decoder_bias
            sigmoid(code, out=code)
        return code


def initial_stack(
    sizes: Sequence[int],
    stream: Stream,
    *,
    capacities: Sequence[int] | None = None,
    dtype: type[np.float32] | type[np.float64] = np.float32,
) -> Stack:
    """A stack of these sizes with zero biases and weights uniform on +-4 sqrt(6 / (in + out)).

    Glorot & Bengio (2010), eq. 16, times 4 for sigmoid units. `capacities` (None: the sizes) say how far each
    layer can widen; the inputs cannot. Raises KernelError for sizes that make no network.
    """
    room = tuple(sizes) if capacities is None else tuple(capacities)
    fits = len(room) == len(sizes) >= 2 and all(0 < n <= top for n, top in zip(sizes, room, strict=False))
    if not fits or room[0] != sizes[0]:
        raise KernelError(
            f"an autoencoder needs two sizes or more, each above 0 and within its capacity, and inputs that "
            f"cannot grow, got sizes {tuple(sizes)} and capacities {room}."
        )
    levels = []
    for k in range(len(sizes) - 1):
        below, above = sizes[k], sizes[k + 1]
        bound = 4.0 * math.sqrt(6.0 / (below + above))
        level = _zeros(room[k], room[k + 1], dtype)
        level.encoder[:above, :below] = (2.0 * stream.uniform((above, below)) - 1.0) * bound
        level.decoder[:below, :above] = (2.0 * stream.uniform((below, above)) - 1.0) * bound
        levels.append(level)
    return Stack(tuple(sizes), tuple(levels))


def _zeros(below: int, above: int, dtype: type[np.float32] | type[np.float64]) -> Level:
    return Level(
        np.zeros((above, below), dtype),
        np.zeros(above, dtype),
        np.zeros((below, above), dtype),
        np.zeros(below, dtype),
    )
