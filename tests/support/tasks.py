"""Tasks that cost nothing, and tasks that misbehave, for tests of pool, search and command line."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from evaluator.errors import DataError
from evaluator.objectives import Objective
from evaluator.tasks import FunctionTask, Tier
from genome import Choice, Integer, Real, SearchSpace

SPACE = SearchSpace(
    "support",
    1,
    (
        Real("a", 0.0, 1.0, levels=101, doc="First coordinate."),
        Real("b", 0.0, 1.0, levels=101, doc="Second coordinate."),
        Choice("mood", ("good", "bad"), doc="Whether the misbehaving tasks misbehave."),
    ),
)
TINY = SearchSpace("tiny", 1, (Integer("n", 1, 6, levels=(1, 2, 3, 4, 5, 6), doc="One of six."),))
OBJECTIVES = (
    Objective(name="near", unit="1", direction="max", worst=-2.0, best=0.0),
    Objective(name="cheap", unit="1", direction="min", worst=2.0, best=0.0),
)


class Bowl(FunctionTask):
    """Two objectives that disagree along a line."""

    name = "bowl"
    space = SPACE
    objectives = OBJECTIVES

    def evaluate(
        self, values: Mapping[str, int | float | str], *, seed: int, tier: Tier
    ) -> Mapping[str, float]:
        a, b = float(values["a"]), float(values["b"])
        return {"near": -((a - 0.3) ** 2 + (b - 0.7) ** 2), "cheap": a + b}


class Decades(Bowl):
    """Two objectives that disagree, and of which one spans decades."""

    name = "decades"
    objectives = (
        Objective(name="near", unit="1", direction="max", worst=-2.0, best=0.0),
        Objective(name="cost", unit="1", direction="min", worst=1e9, best=1.0, scale="log"),
    )

    def evaluate(
        self, values: Mapping[str, int | float | str], *, seed: int, tier: Tier
    ) -> Mapping[str, float]:
        a, b = float(values["a"]), float(values["b"])
        return {"near": a - 1.0, "cost": 10.0 ** (8 * a + b / 10)}


class Breakable(Bowl):
    """A bowl that breaks while a file named `broken` lies in the current folder, as its text says."""

    name = "breakable"

    def evaluate(
        self, values: Mapping[str, int | float | str], *, seed: int, tier: Tier
    ) -> Mapping[str, float]:
        mark = Path("broken")
        if mark.exists():
            raise DataError("the data are gone") if mark.read_text() == "data" else RuntimeError("broken")
        return super().evaluate(values, seed=seed, tier=tier)


class Noisy(Bowl):
    """A bowl whose values depend on the seed, and that takes some hundredths of a second."""

    name = "noisy"

    def evaluate(
        self, values: Mapping[str, int | float | str], *, seed: int, tier: Tier
    ) -> Mapping[str, float]:
        clean = super().evaluate(values, seed=seed, tier=tier)
        spent = sum(i & 1 for i in range(400_000)) - 200_000
        return {**clean, "near": clean["near"] + (seed % 1000) / 1e5 + spent}


class Few(Bowl):
    """A space of six genomes."""

    name = "few"
    space = TINY

    def evaluate(
        self, values: Mapping[str, int | float | str], *, seed: int, tier: Tier
    ) -> Mapping[str, float]:
        n = float(values["n"])
        return {"near": -n / 10, "cheap": 2 - n / 10}


class _Moody(Bowl):
    """A bowl that misbehaves where the gene `mood` is bad."""

    def misbehave(self) -> Mapping[str, float]:
        raise ArithmeticError("the bowl is upset")

    def evaluate(
        self, values: Mapping[str, int | float | str], *, seed: int, tier: Tier
    ) -> Mapping[str, float]:
        if values["mood"] == "bad":
            return self.misbehave()
        return super().evaluate(values, seed=seed, tier=tier)


class Raiser(_Moody):
    name = "raiser"


class Hungry(_Moody):
    name = "hungry"

    def misbehave(self) -> Mapping[str, float]:
        return {"near": float(len(bytearray(4 * 2**30))), "cheap": 0.0}


class Endless(_Moody):
    name = "endless"

    def misbehave(self) -> Mapping[str, float]:
        while True:
            pass


class Suicidal(_Moody):
    name = "suicidal"

    def misbehave(self) -> Mapping[str, float]:
        sys.stderr.write("farewell\n")
        sys.stderr.flush()
        os._exit(7)


class NotANumber(_Moody):
    name = "not-a-number"

    def misbehave(self) -> Mapping[str, float]:
        return {"near": float("nan"), "cheap": 0.0}


class Talkative(Bowl):
    """Prints while it works, which must not reach the pipe of frames."""

    name = "talkative"

    def evaluate(
        self, values: Mapping[str, int | float | str], *, seed: int, tier: Tier
    ) -> Mapping[str, float]:
        sys.stdout.write("hello\n" * 1000)
        sys.stdout.flush()
        os.write(1, b"\x00\x00\x00\x01x")
        return super().evaluate(values, seed=seed, tier=tier)
