"""Asking for runs of a classifier: the parent's side of the child that computes, `evaluator.incremental.classifier`."""

from evaluator import oneshot
from evaluator.incremental.classifier.messages import ClassifierResult, LearnClasses, Learned

__all__ = ["ask"]


async def ask(
    question: LearnClasses, *, memory_bytes: int, nice: int, deadline_s: float
) -> tuple[ClassifierResult, ...]:
    """The results of a process started for this question, which has ended when this returns, cancelled or not.

    What it tells on standard error goes to this process's. Raises EvaluatorError where the question is refused, or the
    process fails or takes longer than `deadline_s`; classes that were learned until then are not learned again.
    """
    answer: Learned = await oneshot.ask(
        "evaluator.incremental.classifier",
        question,
        Learned,
        memory_bytes=memory_bytes,
        nice=nice,
        deadline_s=deadline_s,
        late="The same command goes on after the last class; or give it a longer --deadline.",
    )
    return answer.results
