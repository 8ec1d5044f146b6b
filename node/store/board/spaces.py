"""The built-in search spaces as a form needs them: genes, a live check, layers and cost of a network. Pure."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from evaluator.cost import cost_of, excess
from evaluator.jobs import Arithmetic, CostLimits
from evaluator.shape import Image, NoImageError, Shape
from evaluator.spaces import class_admits
from genome import PRESETS, Choice, Gene, Genome, GenomeError, Real, SearchSpace, Value, preset
from genome.spaces import SPACES
from node.text import summary

__all__ = [
    "SIZES",
    "Checked",
    "CostCard",
    "EdgeCard",
    "GeneCard",
    "LayerCard",
    "PresetCard",
    "Problem",
    "Size",
    "SpaceCard",
    "Stack",
    "check",
    "preset_cards",
    "space_card",
    "space_cards",
    "space_of",
]

_COUNTED: Mapping[str, str] = MappingProxyType({"depth": "width", "layers": "channels"})
"""Genes that count layers, and the prefix of the genes that say how large each layer is."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How large a task's inputs are, and how many classes it has; `image` is channels, height and width.

    `split` is the rule by which the data fall into train, validation and test.
    """

    inputs: int
    classes: int
    image: Image | None = None
    split: str = ""


def _published(name: str, validation: int) -> str:
    return f"published test; of the rest sha256(eqmesh/{name}/1/row) plain test=0 validation={validation} rest=train"


_DIGITS = "sha256(eqmesh/digits/1/row) stratified test=360 validation=360 rest=train"
SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "cifar10": Size(inputs=3072, classes=10, image=(3, 32, 32), split=_published("cifar10", 5_000)),
        "digits": Size(inputs=64, classes=10, image=(1, 8, 8), split=_DIGITS),
        "digits-parity": Size(inputs=64, classes=2, image=(1, 8, 8), split=_DIGITS),
        "fashion-mnist": Size(
            inputs=784, classes=10, image=(1, 28, 28), split=_published("fashion-mnist", 10_000)
        ),
        "mnist": Size(inputs=784, classes=10, image=(1, 28, 28), split=_published("mnist", 10_000)),
    }
)
"""Sizes of the built-in tasks with networks, so that a page need not load the tasks and numpy with them."""


class GeneCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a control for a gene needs; `low` and `high` are None for a choice, `when` says when it is expressed."""

    name: str
    kind: Literal["real", "integer", "choice"]
    doc: str
    when: str
    levels: tuple[Value, ...]
    low: float | int | None
    high: float | int | None
    scale: Literal["linear", "log"]


class SpaceCard(msgspec.Struct, frozen=True, kw_only=True):
    """One space with its genes in order."""

    name: str
    id: str
    genes: tuple[GeneCard, ...]


class PresetCard(msgspec.Struct, frozen=True, kw_only=True):
    """A known good genome to start from."""

    name: str
    doc: str
    space: str
    genes: dict[str, Value]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why values make no genome, or one that cannot be trained here; `gene` is empty where it is not about one."""

    gene: str
    message: str


class LayerCard(msgspec.Struct, frozen=True, kw_only=True):
    """One layer: its units, the gene that sizes it ("" where another or the task does), whether it settles."""

    index: int
    name: str
    units: int
    detail: str
    gene: str
    settles: bool


class EdgeCard(msgspec.Struct, frozen=True, kw_only=True):
    """A connection between layers; `kind` is forward, skip or shared (one weight for several)."""

    source: int
    target: int
    kind: Literal["forward", "skip", "shared"]


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """Layers that can be added, removed and reordered: the gene that counts them, and those that size each."""

    count: str
    genes: tuple[str, ...]
    low: int
    high: int


class CostCard(msgspec.Struct, frozen=True, kw_only=True):
    """Analytic cost of a training: bytes, and multiply-accumulates a training sample. `refusal` is "" within limits."""

    parameters: int
    parameter_bytes: int
    activation_bytes: int
    peak_bytes: int
    macs_per_sample: float
    refusal: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of checking values against a space.

    `values` has every expressed gene that is lawful; `filled` names those of them that were not given and took the
    space's default. `id` and `summary` are there once no problem is left but one of training, and so are `layers` and
    `cost` of a network that is built from its genes alone.
    """

    space: str
    expressed: tuple[str, ...]
    values: dict[str, Value]
    filled: tuple[str, ...]
    problems: tuple[Problem, ...]
    id: str = ""
    summary: str = ""
    classes: tuple[Arithmetic, ...] = ()
    layers: tuple[LayerCard, ...] = ()
    edges: tuple[EdgeCard, ...] = ()
    stack: Stack | None = None
    cost: CostCard | None = None


def space_of(name: str) -> SearchSpace | None:
    """The built-in space of this name ("mlp") or id ("mlp/1"); None for another, whose code is never loaded here."""
    return next((space for space in SPACES.values() if name in (space.name, space.id)), None)


def space_card(space: SearchSpace) -> SpaceCard:
    """A space as a form needs it."""
    return SpaceCard(name=space.name, id=space.id, genes=tuple(map(_gene_card, space.genes)))


def space_cards() -> tuple[SpaceCard, ...]:
    """Every built-in space."""
    return tuple(map(space_card, SPACES.values()))


def preset_cards() -> tuple[PresetCard, ...]:
    """Every preset, with its genes."""
    found = [(name, preset(name)) for name in PRESETS]
    return tuple(
        PresetCard(name=name, doc=PRESETS[name], space=genome.space, genes=dict(genome.values))
        for name, genome in found
    )


def _gene_card(gene: Gene) -> GeneCard:
    choice = isinstance(gene, Choice)
    return GeneCard(
        name=gene.name,
        kind="choice" if choice else "real" if isinstance(gene, Real) else "integer",
        doc=gene.doc,
        when=str(gene.when),
        levels=tuple(gene.table),
        low=None if isinstance(gene, Choice) else gene.low,
        high=None if isinstance(gene, Choice) else gene.high,
        scale=gene.scale if isinstance(gene, Real) else "linear",
    )


def check(space: SearchSpace, given: Mapping[str, object], size: Size, arithmetic: Arithmetic) -> Checked:
    """What `given` makes in a space: every problem at once, each with its gene, and what the genome is and costs.

    Genes that are not expressed are passed over, so that a form may keep what they were.
    """
    values, filled, problems = _walk(space, given)
    expressed = space.expressed(values)
    if problems:
        return Checked(
            space=space.id, expressed=expressed, values=values, filled=filled, problems=tuple(problems)
        )
    genome = space.genome(values)
    space.check(genome)
    made = Checked(
        space=space.id,
        expressed=expressed,
        values=dict(genome.values),
        filled=filled,
        problems=(),
        id=genome.id,
        summary=summary(genome),
        classes=tuple(each for each in ("fp32", "bf16", "exact-1") if class_admits(each, genome)),
        stack=_stack(space, genome),
    )
    return _with_network(made, genome, size, arithmetic)


def _walk(
    space: SearchSpace, given: Mapping[str, object]
) -> tuple[dict[str, Value], tuple[str, ...], list[Problem]]:
    """Lawful values of the expressed genes, names of those that took a default, and what is wrong with the others."""
    values: dict[str, Value] = {}
    filled: list[str] = []
    problems = [_unknown(space, name) for name in given if name not in space.by_name]
    for gene in space.genes:
        if not gene.when.holds(values):
            continue
        if gene.name not in given:
            values[gene.name] = _default(gene)
            filled.append(gene.name)
            continue
        try:
            values[gene.name] = gene.check(given[gene.name])
        except GenomeError as error:
            problems.append(Problem(gene=gene.name, message=f"{error} Give such a value."))
    return values, tuple(filled), problems


def _default(gene: Gene) -> Value:
    """What SearchSpace.repair gives a missing gene."""
    return gene.table[0] if isinstance(gene, Choice) else gene.table[len(gene.table) // 2]


def _unknown(space: SearchSpace, name: str) -> Problem:
    near = difflib.get_close_matches(name, space.by_name, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "Remove it."
    return Problem(gene="", message=f"space {space.id!r} has no gene {name[:64]!r}. {hint}")


def _stack(space: SearchSpace, genome: Genome) -> Stack | None:
    for count, prefix in _COUNTED.items():
        gene = space.by_name.get(count)
        if count in genome and gene is not None and not isinstance(gene, Choice):
            # By hand one may go to the bounds, beyond the levels that a search tries.
            numbers = range(1, int(gene.high) + 1)
            names = tuple(name for number in numbers if (name := f"{prefix}{number}") in space.by_name)
            # Where one gene sizes several layers, they cannot be told apart to be moved.
            if int(genome[count]) > len(names):
                return None
            return Stack(count=count, genes=names, low=int(gene.low), high=len(names))
    return None


def _with_network(made: Checked, genome: Genome, size: Size, arithmetic: Arithmetic) -> Checked:
    if "credit" not in genome:
        return (
            made  # the task of such a space builds and grows its networks itself: there is no cost to reckon
        )
    values = dict(genome.values)
    problems = []
    if not class_admits(arithmetic, genome):
        lawful = ", ".join(made.classes)
        problems.append(
            Problem(
                gene="",
                message=f"the class {arithmetic} cannot train this genome, {lawful} can. Choose one of those.",
            )
        )
    try:
        cost = cost_of(
            values, inputs=size.inputs, classes=size.classes, arithmetic=arithmetic, image=size.image
        )
    except NoImageError as error:
        problems.append(Problem(gene="", message=str(error)))
        return msgspec.structs.replace(made, problems=tuple(problems))
    return msgspec.structs.replace(
        made,
        problems=tuple(problems),
        layers=_layers(cost.shape, made.stack, genome),
        edges=_edges(cost.shape),
        cost=CostCard(
            parameters=cost.shape.parameters,
            parameter_bytes=cost.parameter_bytes,
            activation_bytes=cost.activation_bytes,
            peak_bytes=cost.peak_bytes,
            macs_per_sample=cost.macs_per_step / cost.batch,
            refusal=excess(cost, CostLimits()) or "",
        ),
    )


def _layers(shape: Shape, stack: Stack | None, genome: Genome) -> tuple[LayerCard, ...]:
    def one(index: int) -> LayerCard:
        name = "input" if index == 0 else "output" if index == shape.last else f"hidden {index}"
        hidden = 0 < index < shape.last
        gene = stack.genes[index - 1] if stack is not None and hidden else ""
        if not gene and hidden and shape.looped:
            gene = "width1"
        maps = " x ".join(map(str, shape.maps[index])) if index < len(shape.maps) else ""
        corner = f"colour {index} of 8" if hidden and "side" in genome else maps
        return LayerCard(
            index=index, name=name, units=shape.sizes[index], detail=corner, gene=gene,
            settles=index in shape.states and genome.get("credit") != "backprop",
        )  # fmt: skip

    return tuple(map(one, range(shape.last + 1)))


def _edges(shape: Shape) -> tuple[EdgeCard, ...]:
    own = set(shape.own)
    return tuple(
        EdgeCard(
            source=edge[0],
            target=edge[1],
            kind="skip" if edge in shape.skips else "forward" if edge in own else "shared",
        )
        for edge in shape.connections
    )
