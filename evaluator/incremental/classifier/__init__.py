"""Class-incremental learning by classifiers of Equilibrium Propagation that grow and replay what they saw."""

from evaluator.incremental.classifier.messages import CLASSIFIER_VARIANTS, ClassifierResult, ClassifierVariant
from evaluator.incremental.classifier.settings import CLASSIFIER_DIGITS, CLASSIFIER_MNIST, ClassifierSettings

__all__ = [
    "CLASSIFIER_DIGITS",
    "CLASSIFIER_MNIST",
    "CLASSIFIER_VARIANTS",
    "ClassifierResult",
    "ClassifierSettings",
    "ClassifierVariant",
]
