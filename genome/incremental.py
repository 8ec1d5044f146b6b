"""The space `incremental/1`: classifiers that learn class by class, growing or not, with or without replay. Pure.

After Draelos et al. (2017). Lengths of phases are shares of the passes that the tier gives to a class, so that a gene
means the same at every effort.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from genome.conditions import All, Any, AtLeast, Is, Value
from genome.genes import Choice, Integer, Real
from genome.space import SearchSpace

__all__ = ["INCREMENTAL", "REGIMES", "RegimePreset"]

WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
STAGED = Is("course", "incremental")
GROWING = All(STAGED, Is("growth", "on"))
REPLAYING = All(STAGED, Is("replay", "on"))
DEEP = AtLeast("depth", 2)

INCREMENTAL = SearchSpace(
    "incremental",
    1,
    (
        Choice(
            "course",
            ("incremental", "joint"),
            varied=False,
            doc="Whether classes come one after another, or all at once as the baseline that has nothing to forget.",
        ),
        Integer("depth", 1, 2, doc="Hidden layers; the first one is fed by the input and may grow."),
        Integer(
            "width1",
            1,
            2048,
            WIDTHS,
            doc="Units of the first hidden layer; of a network that grows, those before growth.",
        ),
        Integer("width2", 1, 2048, WIDTHS, doc="Units of the second hidden layer.", when=DEEP),
        Choice(
            "output",
            ("ce", "mse"),
            doc="Cost and place of the output: a softmax readout outside the energy, or states inside it.",
        ),
        Real(
            "gain",
            0.1,
            1.0,
            21,
            "log",
            doc="Factor on the initial weights between hidden layers.",
            when=DEEP,
        ),
        Real(
            "beta_ce",
            0.02,
            1.0,
            18,
            "log",
            doc="Strength of the nudge towards the label, output ce.",
            when=Is("output", "ce"),
        ),
        Real(
            "beta_mse",
            0.02,
            0.4,
            14,
            "log",
            doc="Strength of the nudge towards the label, output mse.",
            when=Is("output", "mse"),
        ),
        Integer(
            "free_steps",
            0,
            32,
            (0, 1, 2, 3, 4, 6, 8, 12),
            doc="Sweeps of the free phase, from the feed-forward start.",
            when=Any(DEEP, Is("output", "mse")),
        ),
        Integer("nudged_steps", 1, 16, (1, 2, 3, 4, 6), doc="Sweeps of each nudged phase."),
        Real("lr_adam", 1e-4, 3e-2, 26, "log", doc="Learning rate of Adam."),
        Integer("batch", 8, 512, (8, 16, 32, 64, 128), doc="Examples of an update."),
        Real(
            "learn",
            0.05,
            1.0,
            20,
            doc="Share of the tier's passes that end a class: all weights learn, new class and replay together.",
            when=STAGED,
        ),
        Choice(
            "growth",
            ("off", "on"),
            doc="Whether units are added while too many samples of a new class are outliers.",
            when=STAGED,
        ),
        Integer(
            "cap",
            1,
            4096,
            (8, 16, 32, 64, 96, 128, 224, 320, 448),
            doc="Most units that growth adds in all.",
            when=GROWING,
        ),
        Integer(
            "class_cap",
            1,
            1024,
            (2, 4, 8, 16, 28, 56, 112),
            doc="Most units that growth adds for one class.",
            when=GROWING,
        ),
        Real(
            "quantile",
            0.5,
            0.99,
            50,
            doc="Quantile of the base classes' costs from which the threshold of an outlier is made.",
            when=GROWING,
        ),
        Real(
            "margin",
            0.1,
            100.0,
            25,
            "log",
            doc="Factor on that quantile; the threshold is at most half of what chance costs.",
            when=GROWING,
        ),
        Real(
            "outliers",
            0.01,
            0.9,
            18,
            doc="Share of a new class that may be outliers before units are added.",
            when=GROWING,
        ),
        Real(
            "added",
            0.005,
            0.5,
            21,
            "log",
            doc="Units that a round adds, as a share of the outliers; one at least.",
            when=GROWING,
        ),
        Integer(
            "patience",
            1,
            16,
            (1, 2, 3, 4, 6, 8),
            doc="Rounds after which growth must have lowered the share of outliers.",
            when=GROWING,
        ),
        Real(
            "improvement",
            0.001,
            0.5,
            20,
            "log",
            doc="By how much it must have.",
            when=GROWING,
        ),
        Real(
            "selectivity",
            0.0,
            1.0,
            21,
            doc="Share of what a new unit receives from its own outlier that its bias takes away.",
            when=GROWING,
        ),
        Real(
            "plasticity",
            0.05,
            1.0,
            20,
            doc="Share of the tier's passes in which the new units alone learn the outliers, each round.",
            when=GROWING,
        ),
        Real(
            "plasticity_rate",
            0.01,
            1.0,
            21,
            "log",
            doc="Learning rate of that phase, as a share of the rate.",
            when=GROWING,
        ),
        Real(
            "stability",
            0.0,
            0.5,
            21,
            doc="Share of the tier's passes in which all weights then learn new class and replay, each round.",
            when=GROWING,
        ),
        Real(
            "stability_rate",
            0.01,
            1.0,
            21,
            "log",
            doc="Learning rate of that phase, as a share of the rate.",
            when=All(GROWING, AtLeast("stability", 0.025)),
        ),
        Choice(
            "replay",
            ("off", "on"),
            doc="Whether old classes are drawn again, from Gaussians of their codes; no old sample is kept.",
            when=STAGED,
        ),
        Real(
            "replay_ratio",
            0.1,
            4.0,
            18,
            "log",
            doc="Samples drawn of each old class, as a multiple of the new class's.",
            when=REPLAYING,
        ),
        Choice(
            "new_from",
            ("replay", "data"),
            doc="Whether the new class joins them drawn from its own Gaussian, or as it is.",
            when=REPLAYING,
        ),
        Real(
            "code",
            0.25,
            1.0,
            16,
            doc="Share of the side of an image whose lowest cosine frequencies make the code.",
            when=REPLAYING,
        ),
        Real(
            "shrinkage",
            0.001,
            0.9,
            21,
            "log",
            doc="Share of each covariance that is pulled towards a round one.",
            when=REPLAYING,
        ),
        Real(
            "floor",
            1e-8,
            1e-1,
            22,
            "log",
            doc="Least variance of a code in any direction.",
            when=REPLAYING,
        ),
    ),
)


@dataclass(frozen=True)
class RegimePreset:
    """A preset of the space: what it is, its genes, and those that are others for a task."""

    doc: str
    values: Mapping[str, Value]
    by_task: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


_NETWORK: dict[str, Value] = {
    "depth": 1, "output": "ce", "beta_ce": 1.0, "nudged_steps": 1, "lr_adam": 0.004, "batch": 32,
}  # fmt: skip
_STAGES: dict[str, Value] = {**_NETWORK, "course": "incremental", "learn": 1.0}
_GROWN: dict[str, Value] = {
    "growth": "on", "width1": 32, "cap": 224, "class_cap": 28, "quantile": 0.95, "margin": 10.0, "outliers": 0.1,
    "added": 0.05, "patience": 4, "improvement": 0.01, "selectivity": 0.6, "plasticity": 0.4, "plasticity_rate": 1.0,
    "stability": 0.125, "stability_rate": 0.1,
}  # fmt: skip
# As large as growth may end: at equal size it shows what growth itself is worth.
_FIXED: dict[str, Value] = {"growth": "off", "width1": 256}
_REPLAYED: dict[str, Value] = {
    "replay": "on", "replay_ratio": 1.0, "new_from": "replay", "code": 1.0, "shrinkage": 0.02, "floor": 1e-6,
}  # fmt: skip
_FORGOTTEN: dict[str, Value] = {"replay": "off"}
# Of 28 x 28 pixels the 14 x 14 lowest frequencies are remembered.
_LARGE: dict[str, Value] = {"lr_adam": 0.002, "batch": 64}
_LARGE_GROWN: dict[str, Value] = {
    **_LARGE, "width1": 64, "cap": 448, "class_cap": 56, "added": 0.005, "plasticity": 0.5, "stability": 0.2,
}  # fmt: skip
_LARGE_FIXED: dict[str, Value] = {**_LARGE, "width1": 512}
_IMAGES = ("mnist-incremental", "fashion-mnist-incremental")


def _large(values: Mapping[str, Value], *, replays: bool = False) -> dict[str, Mapping[str, Value]]:
    changes = {**values, **({"code": 0.5} if replays else {})}
    return dict.fromkeys(_IMAGES, changes)


REGIMES: Mapping[str, RegimePreset] = MappingProxyType(
    {
        "ndl": RegimePreset(
            "Class by class: the network grows (neurogenesis), nothing old is replayed.",
            {**_STAGES, **_GROWN, **_FORGOTTEN},
            _large(_LARGE_GROWN),
        ),
        "cl": RegimePreset(
            "Class by class: a fixed network, nothing old is replayed.",
            {**_STAGES, **_FIXED, **_FORGOTTEN},
            _large(_LARGE_FIXED),
        ),
        "ndl-ir": RegimePreset(
            "Class by class: the network grows, and old classes are drawn from their statistics (intrinsic replay).",
            {**_STAGES, **_GROWN, **_REPLAYED},
            _large(_LARGE_GROWN, replays=True),
        ),
        "cl-ir": RegimePreset(
            "Class by class: a fixed network with intrinsic replay.",
            {**_STAGES, **_FIXED, **_REPLAYED},
            _large(_LARGE_FIXED, replays=True),
        ),
        "joint": RegimePreset(
            "Baseline of class-incremental learning: all classes at once.",
            {**_NETWORK, "course": "joint", "width1": 256},
            _large(_LARGE_FIXED),
        ),
    }
)
"""The four regimes of Draelos et al. (2017) as genomes, and joint training; fixed networks are as large as growth
may end."""
