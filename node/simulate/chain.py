"""What stands in for the training of a network in a simulation: a chain of states, weights and predictions. Pure.

A state holds the objectives that a training has come to so far. The first one follows from genome and seed; every other
one carries on what the state before holds, under this very genome and seed. So a replay of any segment shows whether
it was forged there, and the weights at the end are as good as the last state, however that came about.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from node.mesh.judge import CHECKPOINTS

__all__ = [
    "EXAMPLES",
    "Chain",
    "chain",
    "correct_of",
    "follow",
    "leaf_of",
    "predictions_of",
    "read_weights",
    "start",
    "weights_of",
]

EXAMPLES = 1000
"""Validation examples of a simulated training whose task knows an accuracy."""

Objectives = Mapping[str, float]


class State(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A simulated learner after a segment: whose training it is, and what it has come to."""

    genome: bytes
    seed: int
    segment: int
    objectives: dict[str, float]


class Weights(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Simulated weights: what a validation of them gives."""

    genome: bytes
    objectives: dict[str, float]


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """All that a simulated training leaves: states and their leaves, weights, predictions, and the objectives."""

    states: tuple[bytes, ...]
    leaves: tuple[bytes, ...]
    weights: bytes
    predictions: bytes
    objectives: dict[str, float]

    @property
    def correct(self) -> int:
        """Examples that the weights get right."""
        return correct_of(self.objectives)


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_read_state = msgspec.msgpack.Decoder(State).decode
_read_weights = msgspec.msgpack.Decoder(Weights).decode


def correct_of(objectives: Objectives) -> int:
    """How many of the examples an accuracy stands for; 0 for tasks without one."""
    return round(EXAMPLES * objectives.get("accuracy", 0.0))


def predictions_of(objectives: Objectives) -> bytes:
    """Two bytes an example: 1 where it was got right; nothing for tasks without an accuracy."""
    if "accuracy" not in objectives:
        return b""
    correct = correct_of(objectives)
    return b"\x01\x00" * correct + b"\x00\x00" * (EXAMPLES - correct)


def leaf_of(state: bytes) -> bytes:
    """The hash that a claim commits to for a state."""
    return hashlib.sha256(b"eqmesh/simulate/leaf\n" + state).digest()


def start(genome: bytes, seed: int, objectives: Objectives) -> bytes:
    """The state at the end of the first segment of an honest training."""
    return _encode(State(genome, seed, 0, dict(sorted(objectives.items()))))


def follow(genome: bytes, seed: int, segment: int, before: bytes) -> bytes | None:
    """The state after `segment`, from the one before it; None where that is no state of so long a training."""
    try:
        state = _read_state(before)
    except msgspec.MsgspecError:
        return None
    if state.segment != segment - 1:
        return None
    return _encode(State(genome, seed, segment, state.objectives))


def weights_of(state: bytes) -> bytes:
    """The weights that a training leaves whose last state this is."""
    last = _read_state(state)
    return _encode(Weights(last.genome, last.objectives))


def read_weights(body: bytes, genome: bytes) -> Objectives | None:
    """What simulated weights of this genome reach; None for anything else."""
    try:
        weights = _read_weights(body)
    except msgspec.MsgspecError:
        return None
    return weights.objectives if weights.genome == genome else None


def chain(
    genome: bytes, seed: int, objectives: Objectives, forged: Mapping[int, Objectives] | None = None
) -> Chain:
    """A whole training; where segments are `forged`, the state after each is made up to hold these objectives."""
    states: list[bytes] = []
    current = dict(objectives)
    for segment in range(CHECKPOINTS):
        if forged and segment in forged:
            current = dict(forged[segment])
        states.append(_encode(State(genome, seed, segment, dict(sorted(current.items())))))
    return Chain(
        states=tuple(states),
        leaves=tuple(map(leaf_of, states)),
        weights=weights_of(states[-1]),
        predictions=predictions_of(current),
        objectives=current,
    )
