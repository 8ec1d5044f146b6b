"""The spaces of the learning-rule family: `family/1` of layered networks, `cube/1` and `conv/1`. Pure.

A gene is expressed only where the network that it would be part of reads it, so that every combination is a network:
options that cannot meet are two genes, one for each case, and no condition is left to the builder to check.
"""

from dataclasses import replace

from genome.conditions import ALWAYS, All, Any, AtLeast, Condition, Is
from genome.genes import Choice, Gene, Integer, Real
from genome.mlp import MLP
from genome.space import SearchSpace
from genome.structure import EP, LINEARISED, NUDGED, NUDGES, RULES_CE, RULES_MSE, Structure

__all__ = ["CONV", "CUBE", "FAMILY"]

_CHANNELS = (2, 4, 8, 16, 32, 64)


def _taken(name: str, when: Condition, *, options: tuple[str, ...] | None = None) -> Gene:
    """The gene of `mlp/1` under another condition, or with other options."""
    gene = MLP.by_name[name]
    if isinstance(gene, Choice) and options is not None:
        return replace(gene, options=options, when=when)
    return replace(gene, when=when)


def _sweeps(name: str, when: Condition, most: int) -> Gene:
    """The gene of `mlp/1` for the sweeps of a phase, with another bound; a search draws from the same table."""
    gene = MLP.by_name[name]
    assert isinstance(gene, Integer)
    return replace(gene, high=most, when=when)


def _rule_genes(kind: Structure) -> tuple[Gene, ...]:
    """What is learned by, and from which phases."""
    return (
        _taken("credit", ALWAYS, options=("ep", "backprop") if kind.dense else ("ep",)),
        _taken("output", ALWAYS),
        Choice("rule_ce", kind.ce, doc="Learning rule, output ce.", when=All(EP, Is("output", "ce"))),
        Choice("rule_mse", kind.mse, doc="Learning rule, output mse.", when=All(EP, Is("output", "mse"))),
        _taken("estimate", kind.rules("plain"), options=(*NUDGES, "linearised") if kind.dense else NUDGES),
    )


def _state_genes(kind: Structure) -> tuple[Gene, ...]:
    """What a state is: its nonlinearity, how many may be active, the precision of the weights that it meets."""
    corners = kind.rules("continual", "predictive-coding", "coupled", "contrastive-hebbian")
    clipped = Any(Is("activation", "clip"), LINEARISED) if kind.dense else Is("activation", "clip")
    smooth = (
        Choice(
            "activation_smooth",
            ("logistic", "tanh"),
            doc="Nonlinearity of hidden states under complex nudges, which need a smooth one.",
            when=kind.rules("holomorphic"),
        ),
    )
    return (
        Choice(
            "activation",
            ("clip", "logistic", "tanh"),
            doc="Nonlinearity of hidden states: bounds at 0 and `clip`, its smooth twin on [0, 1], or tanh.",
            when=Any(NUDGED, corners),
        ),
        *(smooth if kind.complex else ()),
        _taken("clip", clipped),
        _taken("gain", kind.deep),
        Real(
            "keep",
            0.1,
            1.0,
            10,
            doc="Share of the units of a hidden layer that may be active at once; the others are 0.",
            when=kind.open_settling,
        ),
        Choice(
            "weight_bits",
            ("32", "8", "2"),
            doc="Bits of the weights that states meet (2 is ternary); what learns stays float32.",
            when=kind.open,
        ),
    )


def _nudge_genes(kind: Structure) -> tuple[Gene, ...]:
    """How strongly the output is pulled, and by what way that comes down."""
    points = Integer(
        "points",
        2,
        64,
        (2, 3, 4, 6, 8, 12, 16),
        doc="Points of the circle of complex nudges; 2 is the centred estimate.",
        when=kind.rules("holomorphic"),
    )
    feedback = (
        Choice(
            "feedback",
            ("tied", "fixed", "mirror", "kolen-pollack", "homeostatic"),
            doc="What carries states down: the weights themselves, or weights of their own that stay random, follow by "
            "noise, take the same steps, or learn and seek symmetry.",
            when=Is("estimate", "centred"),
        ),
        Real(
            "feedback_rate",
            1e-4,
            0.5,
            23,
            "log",
            doc="Share of the way that mirrored weights go in a step; decay of Kolen and Pollack's.",
            when=Is("feedback", "mirror", "kolen-pollack"),
        ),
        Real(
            "homeostasis",
            1e-2,
            10.0,
            19,
            "log",
            doc="Strength of the pull towards a symmetric Jacobian.",
            when=Is("feedback", "homeostatic"),
        ),
    )
    # Predictive coding and contrastive Hebbian learning hold the output at its target: there is no strength.
    nudged = Any(NUDGED, kind.rules("holomorphic", "continual", "coupled"))
    return (
        _taken("beta_ce", All(Is("output", "ce"), nudged)),
        _taken("beta_mse", All(Is("output", "mse"), nudged)),
        *((points,) if kind.complex else ()),
        *(feedback if kind.untieable else ()),
    )


def _settling_genes(kind: Structure) -> tuple[Gene, ...]:
    """How states, or the values of predictive coding, find their rest."""
    multi = All(kind.multi, kind.settling)
    block: Condition = Is("scheme", "block")
    # With the output held, a single hidden layer is at rest after one block sweep: there is nothing to order or repeat.
    free = kind.rules("plain", "holomorphic", "continual", "predictive-coding")
    waiting = Any(free, kind.deep)
    stoppable = All(
        multi,
        Any(
            AtLeast("free_steps", 2),
            # The nudged phase of continual learning is a sequence of updates: it has no early end.
            All(
                AtLeast("nudged_steps", 2),
                kind.rules("plain", "holomorphic", "coupled", "contrastive-hebbian"),
            ),
        ),
    )
    return (
        _taken("scheme", multi),
        # The inference of predictive coding moves all values at once, whatever else is set.
        _taken("step_size", Any(All(multi, Is("scheme", "synchronous")), kind.rules("predictive-coding"))),
        _taken("order", All(multi, block, waiting)),
        _sweeps("free_steps", multi, kind.sweeps[0]),
        _sweeps("nudged_steps", Any(All(EP, waiting), Is("scheme", "synchronous")), kind.sweeps[1]),
        _taken("stop", stoppable),
        _taken("tolerance", All(stoppable, Is("stop", "tolerance"))),
        Real(
            "damping",
            0.1,
            1.0,
            10,
            doc="Share of the way to its minimum that a state goes in a sweep.",
            # A synchronous step has its size, which is the same thing.
            when=All(kind.open_settling, block if kind.shallow is None else Any(block, kind.shallow)),
        ),
        Real(
            "settle_momentum",
            0.0,
            0.9,
            10,
            doc="Share of a state's last change that the next sweep adds.",
            when=All(kind.open_settling, Any(AtLeast("nudged_steps", 2), AtLeast("free_steps", 2))),
        ),
        Choice(
            "sleep",
            ("off", "on"),
            doc="Whether the network settles from noise now and then, and unlearns where it comes to rest.",
            when=kind.open_settling,
        ),
        Integer(
            "sleep_every",
            1,
            1024,
            (1, 2, 4, 8, 16, 32, 64),
            doc="Updates from one sleep to the next.",
            when=Is("sleep", "on"),
        ),
        Real(
            "sleep_rate",
            1e-5,
            1e-1,
            17,
            "log",
            doc="Learning rate of what is unlearned in sleep.",
            when=Is("sleep", "on"),
        ),
        Integer(
            "sleep_steps",
            1,
            16,
            (1, 2, 4, 8),
            doc="Sweeps of a sleep.",
            when=All(Is("sleep", "on"), multi),
        ),
    )


def _step_genes(kind: Structure) -> tuple[Gene, ...]:
    """How a gradient becomes an update."""
    others = kind.rules("plain", "holomorphic", "predictive-coding", "coupled", "contrastive-hebbian")
    sgd = Any(Is("optimizer", "sgd"), kind.rules("continual"))
    spectral = All(kind.multi, kind.settling, kind.capped)
    return (
        _taken(
            "optimizer",
            # Continual learning steps at every sweep, by plain SGD.
            Any(Is("credit", "backprop"), others) if kind.dense else others,
            options=("adam", "adamw", "sgd", "muon", "dion"),
        ),
        _taken("lr_adam", Is("optimizer", "adam", "adamw")),
        _taken("lr_sgd", sgd),
        _taken("lr_muon", Is("optimizer", "muon")),
        Real(
            "lr_dion",
            1e-3,
            1e-1,
            21,
            "log",
            doc="Learning rate of Dion for weights.",
            when=Is("optimizer", "dion"),
        ),
        replace(
            _taken("lr_bias", Is("optimizer", "muon", "dion")),
            doc="Learning rate of Adam for the biases beside Muon or Dion.",
        ),
        _taken("momentum", Any(Is("optimizer", "sgd", "muon", "dion"), kind.rules("continual"))),
        _taken("weight_decay", Is("optimizer", "adamw")),
        _taken("ns_steps", Is("optimizer", "muon")),
        Real(
            "rank_fraction",
            0.05,
            1.0,
            20,
            doc="Share of the smaller side of a weight that an update of Dion spans.",
            when=Is("optimizer", "dion"),
        ),
        Real(
            "error_feedback",
            0.0,
            1.0,
            11,
            doc="Share of what an update of Dion leaves out that comes back in later ones.",
            when=Is("optimizer", "dion"),
        ),
        _taken("spectral", spectral),
        _taken("gamma", All(spectral, Is("spectral", "clip"))),
        _taken("batch", ALWAYS),
        Choice(
            "schedule",
            ("linear", "constant", "cosine", "warm-up-linear", "warm-up-cosine"),
            doc="How the learning rate falls to 0 over the training, if it does, and whether it first rises.",
        ),
    )


def _order_genes() -> tuple[Gene, ...]:
    """Which samples early epochs see; the order of those is drawn, as ever."""
    return (
        Choice(
            "curriculum",
            ("none", "easy-first", "hard-first"),
            doc="Whether early epochs see all samples, or the easiest or hardest share of each class.",
        ),
        Real(
            "pace",
            0.1,
            0.9,
            9,
            doc="Share of the samples that the first epoch sees; all are seen from the middle of the epochs on.",
            when=Is("curriculum", "easy-first", "hard-first"),
        ),
    )


def _space(name: str, kind: Structure) -> SearchSpace:
    genes = (
        *_rule_genes(kind), *kind.genes, *_state_genes(kind), *_nudge_genes(kind), *_settling_genes(kind),
        *_step_genes(kind), *_order_genes(),
    )  # fmt: skip
    return SearchSpace(name, 1, genes)


LOOPED = Is("looped", "on")
LAYERED = Any(Is("credit", "backprop"), LINEARISED, Is("looped", "off"))
_DENSE = Structure(
    (
        Choice(
            "looped",
            ("off", "on"),
            doc="Whether hidden layers share one width and the weights between them.",
            # The linearised estimate is an algorithm of the engine alone, which has no looped weights.
            when=Any(NUDGED, Is("rule_ce", *RULES_CE[1:]), Is("rule_mse", *RULES_MSE[1:])),
        ),
        _taken("depth", LAYERED),
        Integer(
            "loop_depth",
            3,
            16,
            (3, 4, 6, 8, 12),
            doc="Hidden layers that share the weights between them.",
            when=LOOPED,
        ),
        _taken("width1", ALWAYS),
        _taken("width2", AtLeast("depth", 2)),
        _taken("width3", AtLeast("depth", 3)),
        _taken("skip", LAYERED),
    ),
    deep=Any(AtLeast("depth", 2), LOOPED),
    shallow=All(Is("depth", 1), Is("output", "ce")),
    capped=ALWAYS,
    dense=True,
)
_CUBE = Structure(
    (Integer("side", 2, 32, (2, 3, 4, 5, 6), doc="Units of an edge of the cube; it has side^3."),),
    deep=ALWAYS,
    shallow=None,
    capped=ALWAYS,
)
_CONV = Structure(
    (
        # No search draws a fourth: its pool would leave nothing of most images.
        Integer("layers", 1, 4, (1, 2, 3), doc="Convolutional layers, each halved by its pool."),
        Integer("channels1", 1, 512, _CHANNELS, doc="Channels of the first convolutional layer."),
        Integer(
            "channels2",
            1,
            512,
            _CHANNELS,
            doc="Channels of the second one.",
            when=AtLeast("layers", 2),
        ),
        Integer(
            "channels3",
            1,
            512,
            _CHANNELS,
            doc="Channels of the third one, and of a fourth.",
            when=AtLeast("layers", 3),
        ),
        Choice("kernel", ("3", "5", "1"), doc="Side of the filters."),
        Choice(
            "pool", ("avg", "max"), doc="What a pool keeps of its four units: their mean, or the largest."
        ),
    ),
    deep=AtLeast("layers", 2),
    shallow=All(Is("layers", 1), Is("output", "ce")),
    # The norm of a convolution is not that of its filters: only a dense output inside the energy has one to cap.
    capped=Is("output", "mse"),
    # What published networks of four layers settle for; a search stays below.
    sweeps=(64, 32),
    untieable=False,
    complex=False,
)

FAMILY = _space("family", _DENSE)
CUBE = _space("cube", _CUBE)
CONV = _space("conv", _CONV)
