"""MNIST: handwritten digits of 28x28 pixels (LeCun, Bottou, Bengio & Haffner 1998)."""

from evaluator.tasks.base import Tier
from evaluator.tasks.idx_images import IdxImages

__all__ = ["MNIST"]

MNIST = IdxImages(
    name="mnist",
    version=1,
    doc="Handwritten digits of 28x28 pixels, 10 classes.",
    tiers=(
        Tier(name="smoke", epochs=1, train_limit=4_096, validation_limit=2_000, doc="Does it run at all."),
        Tier(name="quick", epochs=2, train_limit=10_000, doc="A first impression."),
        Tier(name="standard", epochs=3, train_limit=25_000, doc="Enough to rank networks."),
        Tier(name="full", epochs=5, doc="All training examples, as in the published tables."),
    ),
    default_tier="standard",
)
