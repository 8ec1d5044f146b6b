"""The space `mlp/1`: layered networks that learn by plain Equilibrium Propagation, or by backpropagation. Pure."""

from genome.conditions import All, Any, AtLeast, Is
from genome.genes import Choice, Integer, Real
from genome.space import SearchSpace

__all__ = ["MLP"]

WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
EP = Is("credit", "ep")
DEEP = AtLeast("depth", 2)
# More than one layer of states: only then do layers wait for each other, so that settling is iterative.
MULTI = All(EP, Any(DEEP, Is("output", "mse")))
# A phase of a single sweep cannot end earlier.
STOPPABLE = All(MULTI, Any(AtLeast("free_steps", 2), AtLeast("nudged_steps", 2)))
# The linearised estimate is the limit of a vanishing nudge: it has no strength.
NUDGED = Is("estimate", "centred", "one-sided", "negative", "random-sign")

MLP = SearchSpace(
    "mlp",
    1,
    (
        Choice(
            "credit",
            ("ep", "backprop"),
            varied=False,
            doc="How weights learn: by Equilibrium Propagation, or by backpropagation as the honest baseline.",
        ),
        Integer("depth", 1, 3, doc="Hidden layers."),
        Integer("width1", 1, 4096, WIDTHS, doc="Units of the first hidden layer."),
        Integer("width2", 1, 4096, WIDTHS, doc="Units of the second hidden layer.", when=DEEP),
        Integer("width3", 1, 4096, WIDTHS, doc="Units of the third hidden layer.", when=AtLeast("depth", 3)),
        Choice("skip", ("none", "two"), doc="Whether each layer also reads the layer two below it."),
        Choice(
            "output",
            ("ce", "mse"),
            doc="Cost and place of the output: a softmax readout outside the energy (ce), or a layer of states "
            "inside it with the squared error (mse).",
        ),
        Real("clip", 0.5, 2.0, 16, doc="Upper bound of a hidden state; the lower one is 0.", when=EP),
        Real(
            "gain",
            0.1,
            1.0,
            21,
            "log",
            doc="Factor on the initial weights between hidden layers; smaller settles faster.",
            when=DEEP,
        ),
        Choice(
            "estimate",
            ("centred", "one-sided", "negative", "random-sign", "linearised"),
            doc="Which nudged phases the update compares: +beta with -beta, +beta with free, -beta with free, "
            "either by a coin a batch, or the limit of a vanishing nudge.",
            when=EP,
        ),
        Real(
            "beta_ce",
            0.02,
            1.0,
            18,
            "log",
            doc="Strength of the nudge towards the label, output ce.",
            when=All(EP, Is("output", "ce"), NUDGED),
        ),
        Real(
            "beta_mse",
            0.02,
            0.4,
            14,
            "log",
            doc="Strength of the nudge towards the label, output mse.",
            when=All(EP, Is("output", "mse"), NUDGED),
        ),
        Choice(
            "scheme",
            ("block", "synchronous"),
            doc="How states settle: one layer after another to its exact minimum, or all at once by a step.",
            when=MULTI,
        ),
        Real(
            "step_size",
            0.1,
            1.0,
            10,
            doc="How far a synchronous step goes towards the minimum.",
            when=All(MULTI, Is("scheme", "synchronous")),
        ),
        Choice(
            "order",
            ("forward-backward", "forward-forward", "alternating"),
            doc="Order of the layers in a sweep of the free and of the nudged phase.",
            when=All(MULTI, Is("scheme", "block")),
        ),
        Integer(
            "free_steps",
            0,
            32,
            (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
            doc="Most sweeps of the free phase, from the feed-forward start.",
            when=MULTI,
        ),
        Integer(
            "nudged_steps",
            1,
            16,
            (1, 2, 3, 4, 6, 8, 12, 16),
            doc="Most sweeps of each nudged phase, from the free state.",
            when=EP,
        ),
        Choice(
            "stop",
            ("fixed", "tolerance"),
            doc="Whether every phase takes all its sweeps or ends once the states rest.",
            when=STOPPABLE,
        ),
        Real(
            "tolerance",
            1e-4,
            1e-1,
            13,
            "log",
            doc="Largest change of a state in a sweep that counts as rest.",
            when=All(STOPPABLE, Is("stop", "tolerance")),
        ),
        Choice("optimizer", ("adam", "adamw", "sgd", "muon"), doc="What turns a gradient into an update."),
        Real(
            "lr_adam",
            1e-4,
            3e-2,
            26,
            "log",
            doc="Learning rate of Adam and AdamW.",
            when=Is("optimizer", "adam", "adamw"),
        ),
        Real("lr_sgd", 1e-3, 1.0, 31, "log", doc="Learning rate of SGD.", when=Is("optimizer", "sgd")),
        Real(
            "lr_muon",
            1e-3,
            1e-1,
            21,
            "log",
            doc="Learning rate of Muon for weights.",
            when=Is("optimizer", "muon"),
        ),
        Real(
            "lr_bias",
            1e-4,
            1e-2,
            21,
            "log",
            doc="Learning rate of Adam for the biases beside Muon.",
            when=Is("optimizer", "muon"),
        ),
        Real(
            "momentum",
            0.0,
            0.98,
            99,
            doc="Share of the last update that the next one keeps.",
            when=Is("optimizer", "sgd", "muon"),
        ),
        Real(
            "weight_decay",
            1e-5,
            1e-1,
            17,
            "log",
            doc="Decoupled decay of weights and biases, times the learning rate a step.",
            when=Is("optimizer", "adamw"),
        ),
        Integer("ns_steps", 3, 8, doc="Newton-Schulz iterations of Muon.", when=Is("optimizer", "muon")),
        Choice(
            "spectral",
            ("off", "clip"),
            doc="Whether the singular values of each weight between states are clipped after an update.",
            when=MULTI,
        ),
        Real(
            "gamma",
            0.3,
            4.0,
            19,
            "log",
            doc="Largest singular value that clipping leaves: every direction beyond it is clipped.",
            when=All(MULTI, Is("spectral", "clip")),
        ),
        Integer("batch", 8, 512, (8, 16, 32, 64, 128, 256, 512), doc="Examples of an update."),
        Choice(
            "schedule", ("linear", "constant"), doc="Whether the learning rate falls to 0 over the training."
        ),
    ),
)
