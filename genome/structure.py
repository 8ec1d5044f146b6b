"""What genes need to know of a kind of network: which learning rules it can have, and where. Pure."""

from dataclasses import dataclass

from genome.conditions import ALWAYS, All, Any, Condition, Is
from genome.genes import Gene

__all__ = ["EP", "LINEARISED", "NUDGED", "NUDGES", "RULES_CE", "RULES_MSE", "SETTLING", "Structure"]

RULES_CE = ("plain", "holomorphic", "continual", "predictive-coding")
RULES_MSE = (*RULES_CE, "coupled", "contrastive-hebbian")
EP = Is("credit", "ep")
NUDGES = ("centred", "one-sided", "negative", "random-sign")
NUDGED = Is("estimate", *NUDGES)
LINEARISED = Is("estimate", "linearised")
SETTLING = ("holomorphic", "continual", "coupled", "contrastive-hebbian")


@dataclass(frozen=True)
class Structure:
    """What genes need to know of a kind of network.

    `genes` shape it; `deep` holds where hidden layers meet hidden layers, `shallow` where there is one hidden layer.
    Without `dense`, there is neither the linearised estimate nor backpropagation; without `untieable`, no feedback of
    its own; without `complex`, no holomorphic rule. `capped` says where a spectral norm can be capped, and `sweeps` how
    many the free and the nudged phase may be given at most.
    """

    genes: tuple[Gene, ...]
    deep: Condition
    shallow: Condition | None
    capped: Condition
    dense: bool = False
    sweeps: tuple[int, int] = (32, 16)
    untieable: bool = True
    complex: bool = True

    def rules(self, *names: str) -> Condition:
        """Where the rule is one of `names`, whichever output it serves; those that it cannot have are passed over."""
        parts = [
            Is(gene, *found)
            for gene, known in (("rule_ce", self.ce), ("rule_mse", self.mse))
            if (found := [name for name in known if name in names])
        ]
        return parts[0] if len(parts) == 1 else Any(*parts)

    @property
    def ce(self) -> tuple[str, ...]:
        """The rules of an output ce."""
        return tuple(name for name in RULES_CE if self.complex or name != "holomorphic")

    @property
    def mse(self) -> tuple[str, ...]:
        """The rules of an output mse."""
        return tuple(name for name in RULES_MSE if self.complex or name != "holomorphic")

    @property
    def settling(self) -> Condition:
        """Where states settle in an energy: all but predictive coding, which settles values and their errors."""
        return self.rules("plain", *SETTLING)

    @property
    def open(self) -> Condition:
        """Where the general learner serves: the linearised estimate is an algorithm of the engine alone."""
        return Any(NUDGED, self.rules(*SETTLING, "predictive-coding"))

    @property
    def open_settling(self) -> Condition:
        """Where the general learner settles states in an energy."""
        return Any(NUDGED, self.rules(*SETTLING))

    @property
    def multi(self) -> Condition:
        """Where more than one layer of states waits for others."""
        if self.deep is ALWAYS:
            return EP
        return All(EP, Any(self.deep, Is("output", "mse")))
