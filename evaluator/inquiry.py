"""Asking what a probe finds: the messages, and the parent's side of the child that answers them, `evaluator.prober`.

Probes import kernels, which know torch, and compute for minutes: they run in a process of their own.
"""

import msgspec

from evaluator import oneshot
from evaluator.oneshot import Refused

__all__ = [
    "Answer",
    "Check",
    "Checked",
    "Description",
    "Found",
    "Listed",
    "Listing",
    "Probing",
    "Question",
    "Setting",
    "Trained",
    "ask",
]


class Listing(msgspec.Struct, tag="listing", frozen=True):
    """Which probes are there?"""


class Check(msgspec.Struct, tag="check", frozen=True, kw_only=True):
    """Could this be asked? `settings` are texts by name, as they stand on a command line.

    `genome` holds canonical bytes; `seed` draws all chance of the probe, and of an untrained network.
    """

    probe: str
    settings: dict[str, str]
    genome: bytes
    task: str
    tier: str
    seed: int


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """A trained network: the safetensors file of its parameters, and the mean sweeps that its training took."""

    file: str
    free_steps: float
    nudged_steps: float


class Probing(msgspec.Struct, tag="probing", frozen=True, kw_only=True):
    """What does the probe find in this network, or, without `trained`, in it as it is first drawn?"""

    check: Check
    trained: Trained | None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of a probe. `default` means nothing where it is `required`."""

    name: str
    required: bool
    default: object = None


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """One probe: its name, what it tells, and its settings."""

    name: str
    description: str
    settings: tuple[Setting, ...]


class Listed(msgspec.Struct, tag="listed", frozen=True):
    """The answer to `Listing`, by name."""

    probes: tuple[Description, ...]


class Checked(msgspec.Struct, tag="checked", frozen=True):
    """The answer to `Check` where it could be asked."""


class Found(msgspec.Struct, tag="found", frozen=True, kw_only=True):
    """The answer to `Probing`: every setting as it was used, and the struct of the probe as plain data."""

    settings: dict[str, object]
    result: dict[str, object]


Question = Listing | Check | Probing
Answer = Listed | Checked | Found | Refused


async def ask(
    question: Question, *, memory_bytes: int, nice: int, deadline_s: float
) -> Listed | Checked | Found:
    """The answer of a process started for this question, which has ended when this returns.

    Raises EvaluatorError where the question is refused, or the process fails or takes longer than `deadline_s`.
    """
    answer: Listed | Checked | Found = await oneshot.ask(
        "evaluator.prober",
        question,
        Listed | Checked | Found,
        memory_bytes=memory_bytes,
        nice=nice,
        deadline_s=deadline_s,
        late="Give it fewer samples, or a longer deadline.",
        heard=False,
    )
    return answer
