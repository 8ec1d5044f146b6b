"""Which genes a genome lives by: it without each of them in turn, and what that costs. Pure."""

import difflib
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import msgspec

from evaluator.jobs import Failure, Outcome, Result
from evaluator.objectives import Objective
from genome import Choice, Gene, Genome, SearchSpace, Value, preset
from genome.spaces import CONV, CUBE, FAMILY, INCREMENTAL, MLP
from node.comparison import Interval, interval
from node.errors import SettingsError

__all__ = [
    "INCREMENTAL_PLAIN",
    "NETWORK_PLAIN",
    "Ablated",
    "Knockout",
    "Measured",
    "Plain",
    "Verdict",
    "judge",
    "knockouts",
    "plain_of",
    "plain_value",
    "usual_value",
]

Verdict = Literal[
    "worse without",
    "better without",
    "no difference shown",
    "trains only with",
    "trains only without",
    "not known",
    "plain already",
]

_OFF = ("none", "off")


class Plain(msgspec.Struct, frozen=True):
    """What genes are without effort: `usual` by name for a gene that a change brings, `off` where the usual is not off.

    A space without any is searched for options named none or off, first options and smallest levels.
    """

    usual: Mapping[str, Value] = MappingProxyType({})
    off: Mapping[str, Value] = MappingProxyType({})


def _usual(*names: str) -> Mapping[str, Value]:
    """The values of presets; the last that has a gene has the last word."""
    return MappingProxyType(
        {gene: value for name in names for gene, value in dict(preset(name).values).items()}
    )


NETWORK_PLAIN = Plain(
    usual=_usual(
        "conv",
        "cube",
        "looped",
        "holomorphic",
        "kolen-pollack",
        "homeostatic",
        "sdmep",
        "deep",
        "shallow",
        "smep",
        "ep",
    ),
    off=MappingProxyType(
        {
            "rule_ce": "plain",  # plain Equilibrium Propagation, the rule that the others are held against
            "rule_mse": "plain",
            "activation": "clip",  # what the space `mlp` has, which knows no other
            "keep": 1.0,  # every unit may be active
            "weight_bits": "32",
            "feedback": "tied",
            "homeostasis": 0.0,  # brought to the least that the gene has
            "points": 2,  # two nudges: the centred estimate
            "damping": 1.0,  # a state goes all the way
            "settle_momentum": 0.0,
            "rank_fraction": 1.0,  # an update spans the whole weight
            "error_feedback": 0.0,  # what an update leaves out is lost
            "momentum": 0.0,  # nothing of the last update is kept
            "gain": 1.0,  # first weights are left as they are drawn
            "step_size": 1.0,  # a synchronous step goes all the way
            "schedule": "constant",  # every preset has a schedule; without one the rate stays
        }
    ),
)
"""Networks: the values of the presets `ep`, `smep`, `shallow`, `deep`, `sdmep`, `homeostatic`, `kolen-pollack`,
`holomorphic`, `looped`, `cube` and `conv`, the first that has the gene."""

INCREMENTAL_PLAIN = Plain(
    usual=_usual("joint", "cl-ir", "ndl-ir"),
    off=MappingProxyType(
        {
            "gain": 1.0,  # first weights are left as they are drawn
            "margin": 1.0,  # the threshold is the quantile itself
            "selectivity": 0.0,  # new units answer to everything
            "plasticity_rate": 1.0,  # no phase is slower than the others
            "stability": 0.0,  # brought to the least: no phase of its own
            "stability_rate": 1.0,
            "shrinkage": 0.0,  # brought to the least that the gene has
            "floor": 0.0,
            "new_from": "data",  # the new class as it is
        }
    ),
)
"""Class-incremental learning: the values of the presets `ndl-ir`, `cl-ir` and `joint`, the first that has the gene."""


class Knockout(msgspec.Struct, frozen=True, kw_only=True):
    """A genome without one of its genes: `genome` is None where `before` is its plain value already.

    `appeared` are the genes that the change brought, with the values that they were given; `gone` those that it took.
    """

    gene: str
    before: Value
    after: Value
    appeared: dict[str, Value]
    gone: tuple[str, ...]
    genome: Genome | None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over the seeds on which both trained: means with and without the gene, and without less with."""

    with_gene: float
    without_gene: float
    difference: Interval


class Ablated(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one knock-out. `objective` and `cost` (CPU seconds of training) are None without a pair of seeds.

    `cost` is None too where nothing is trained. `n` counts the pairs; `failures` are the knock-out's own.
    """

    knockout: Knockout
    n: int
    objective: Measured | None
    cost: Measured | None
    verdict: Verdict
    failures: tuple[Failure, ...]


def plain_of(space: SearchSpace) -> Plain:
    """What is known of a space's genes; nothing of a space whose genes no built-in one has."""
    names = set(space.by_name)
    if names <= set(INCREMENTAL.by_name):
        return INCREMENTAL_PLAIN
    networks = set().union(*(set(each.by_name) for each in (MLP, FAMILY, CUBE, CONV)))
    return NETWORK_PLAIN if names & networks else Plain()


def plain_value(gene: Gene, plain: Plain) -> Value:
    """The value at which a gene does least.

    In this order: an exception of `plain.off`; an option named none or off; the usual value; the first option or the
    smallest level. A number is brought between the gene's bounds, an option that the gene lacks is passed over.
    """
    if gene.name in plain.off and _lawful(gene, plain.off[gene.name]):
        return gene.clip(plain.off[gene.name])
    for option in _OFF:
        if isinstance(gene, Choice) and option in gene.table:
            return option
    if gene.name in plain.usual and _lawful(gene, plain.usual[gene.name]):
        return gene.clip(plain.usual[gene.name])
    return gene.table[0]


def usual_value(gene: Gene, plain: Plain) -> Value:
    """The value of a gene that a change brings: the usual one, else the first option or the middle of the table."""
    if gene.name in plain.usual and _lawful(gene, plain.usual[gene.name]):
        return gene.clip(plain.usual[gene.name])
    return gene.table[0] if isinstance(gene, Choice) else gene.table[len(gene.table) // 2]


def _lawful(gene: Gene, value: Value) -> bool:
    """Whether the gene can take the value, a number brought between its bounds."""
    if isinstance(gene, Choice):
        return value in gene.table
    return not isinstance(value, str)


def knockouts(
    space: SearchSpace, genome: Genome, plain: Plain, names: Sequence[str] = ()
) -> tuple[Knockout, ...]:
    """The genome without each of the genes `names`, or of all that a search varies, in the order of the space.

    Raises SettingsError for a name that is no gene of this genome that varies.
    """
    values = dict(genome.values)
    varied = [gene for gene in space.genes if gene.name in values and gene.varied]
    known = [gene.name for gene in varied]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else "Name some of these."
            raise SettingsError(
                f"--genes expects genes of this genome that a search varies ({', '.join(known)}), got {name!r}. {hint}"
            )
    chosen = [gene for gene in varied if not names or gene.name in names]
    return tuple(_knock_out(space, values, gene, plain) for gene in chosen)


def _knock_out(space: SearchSpace, values: Mapping[str, Value], gene: Gene, plain: Plain) -> Knockout:
    after = plain_value(gene, plain)

    def pick(other: Gene) -> Value:
        if other.name == gene.name:
            return after
        return values[other.name] if other.name in values else usual_value(other, plain)

    built = space.build(pick)
    return Knockout(
        gene=gene.name,
        before=values[gene.name],
        after=after,
        appeared={name: value for name, value in built.items() if name not in values},
        gone=tuple(name for name in values if name not in built),
        genome=None if after == values[gene.name] else space.genome(built),
    )


def judge(
    knockout: Knockout,
    with_gene: Sequence[Result],
    without_gene: Sequence[Result],
    objective: Objective,
    *,
    network: bool,
) -> Ablated:
    """Sum up a knock-out, whose results stand in the order of the seeds as those of the whole genome do.

    The intervals are Student's over the differences of pairs. `without_gene` is empty where nothing was knocked out.
    """
    pairs = [
        (one, other)
        for one, other in zip(with_gene, without_gene, strict=False)
        if isinstance(one, Outcome) and isinstance(other, Outcome)
    ]
    failures = tuple(result for result in without_gene if isinstance(result, Failure))
    if not pairs:
        verdict = _lone(knockout, with_gene, without_gene)
        return Ablated(knockout=knockout, n=0, objective=None, cost=None, verdict=verdict, failures=failures)
    found = _measured([(a.objectives[objective.name], b.objectives[objective.name]) for a, b in pairs])
    cost = [(a.measured.train_cpu_s, b.measured.train_cpu_s) for a, b in pairs]
    return Ablated(
        knockout=knockout,
        n=len(pairs),
        objective=found,
        cost=_measured(cost) if network else None,
        verdict=_verdict(found.difference, objective),
        failures=failures,
    )


def _measured(pairs: Sequence[tuple[float, float]]) -> Measured:
    return Measured(
        with_gene=interval([a for a, _ in pairs]).mean,
        without_gene=interval([b for _, b in pairs]).mean,
        difference=interval([b - a for a, b in pairs]),
    )


def _lone(knockout: Knockout, with_gene: Sequence[Result], without_gene: Sequence[Result]) -> Verdict:
    """What can be said of a knock-out that shares no seed with the whole genome."""
    if knockout.genome is None:
        return "plain already"
    trains, trains_without = (
        any(isinstance(result, Outcome) for result in results) for results in (with_gene, without_gene)
    )
    if trains == trains_without:
        return "not known"
    return "trains only with" if trains else "trains only without"


def _verdict(difference: Interval, objective: Objective) -> Verdict:
    # An interval of a single pair is infinite.
    if math.isinf(difference.half_width):
        return "not known"
    # A task without chance gives the same difference on every seed: then the interval has no width.
    if abs(difference.mean) <= difference.half_width:
        return "no difference shown"
    larger = difference.mean > 0
    return "better without" if larger == (objective.direction == "max") else "worse without"
