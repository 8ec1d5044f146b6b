"""Fashion-MNIST: photos of clothes of 28x28 pixels (Xiao, Rasul & Vollgraf 2017)."""

from evaluator.tasks.base import Tier
from evaluator.tasks.idx_images import IdxImages

__all__ = ["FASHION_MNIST"]

FASHION_MNIST = IdxImages(
    name="fashion-mnist",
    version=1,
    doc="Photos of clothes of 28x28 pixels, 10 classes.",
    tiers=(
        Tier(name="smoke", epochs=1, train_limit=4_096, validation_limit=2_000, doc="Does it run at all."),
        Tier(name="quick", epochs=2, train_limit=10_000, doc="A first impression."),
        Tier(name="standard", epochs=4, train_limit=25_000, doc="Enough to rank networks."),
        Tier(name="full", epochs=8, doc="All training examples, as in the published tables."),
    ),
    default_tier="standard",
)
