"""Genomes for tests of what goes wrong."""

from genome import MLP, Genome, Value, preset


def runaway() -> Genome:
    """A genome whose training leaves the numbers within a few steps, because of its rate alone."""
    values: dict[str, Value] = {
        **dict(preset("ep").values),
        "width1": 8,
        "skip": "two",
        "clip": 2.0,
        "estimate": "one-sided",
        "beta_mse": 0.02,
        "scheme": "synchronous",
        "step_size": 1.0,
        "lr_sgd": 1.0,
        "momentum": 0.98,
        "batch": 8,
        "schedule": "constant",
    }
    return MLP.genome(values)
