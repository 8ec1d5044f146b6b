"""ZDT1: a trade-off with a known front, to try a search without training anything (Zitzler, Deb & Thiele 2000)."""

import math
from collections.abc import Mapping

from evaluator.objectives import Objective
from evaluator.tasks.base import FunctionTask, Tier
from genome.genes import Real, Value
from genome.space import SearchSpace

__all__ = ["ZDT1", "Zdt1"]

VARIABLES = 10


class Zdt1(FunctionTask):
    """Minimise f1 = x1 and f2 = g (1 - sqrt(x1 / g)), g = 1 + 9 mean(x2..xn), all x in [0, 1].

    The front is f2 = 1 - sqrt(f1), where x2..xn are 0 (Zitzler, Deb & Thiele 2000, test function T1).
    """

    name = "zdt1"
    version = 1
    doc = "ZDT1, a test function with a known front; nothing is trained, no data are needed."
    space = SearchSpace("zdt1", 1, tuple(Real(f"x{i}", 0.0, 1.0, 101) for i in range(1, VARIABLES + 1)))
    objectives = (
        Objective(name="f1", unit="1", direction="min", worst=1.0, best=0.0, doc="x1 itself."),
        Objective(name="f2", unit="1", direction="min", worst=10.0, best=0.0, doc="g (1 - sqrt(x1 / g))."),
    )

    def evaluate(self, values: Mapping[str, Value], *, seed: int, tier: Tier) -> dict[str, float]:  # noqa: ARG002 - exact: nothing to draw
        """Give f1 and f2."""
        x = [float(values[gene.name]) for gene in self.space.genes]
        g = 1.0 + 9.0 * sum(x[1:]) / (len(x) - 1)
        return {"f1": x[0], "f2": g * (1.0 - math.sqrt(x[0] / g))}


ZDT1 = Zdt1()
