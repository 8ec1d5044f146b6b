"""Asking for a neurogenesis experiment: the parent's side of the child that computes, `evaluator.incremental`."""

import trio

from evaluator import oneshot
from evaluator.incremental.messages import Learn, Learned, Look, Question, Summary

__all__ = ["learn_all", "look"]


async def learn_all(
    questions: list[Learn], *, workers: int, memory_bytes: int, nice: int, deadline_s: float
) -> None:
    """Learn what each question asks for, each in a process of its own, at most `workers` of them at a time.

    They have ended when this returns, also where it is cancelled. Raises EvaluatorError where one refuses, fails or
    takes longer than `deadline_s`; classes that were learned until then are not learned again.
    """
    places = trio.CapacityLimiter(workers)

    async def one(question: Learn) -> None:
        async with places:
            answer = await _ask(question, memory_bytes=memory_bytes, nice=nice, deadline_s=deadline_s)
        assert isinstance(answer, Learned)

    async with trio.open_nursery() as nursery:
        for question in questions:
            nursery.start_soon(one, question)


async def look(question: Look, *, memory_bytes: int, nice: int, deadline_s: float) -> Summary:
    """The summary of an experiment's folder, with its plots, and its report where asked; raises EvaluatorError."""
    answer = await _ask(question, memory_bytes=memory_bytes, nice=nice, deadline_s=deadline_s)
    assert isinstance(answer, Summary)
    return answer


async def _ask(question: Question, *, memory_bytes: int, nice: int, deadline_s: float) -> Learned | Summary:
    answer: Learned | Summary = await oneshot.ask(
        "evaluator.incremental",
        question,
        Learned | Summary,
        memory_bytes=memory_bytes,
        nice=nice,
        deadline_s=deadline_s,
        late="The same command goes on from there; or give it a longer --deadline.",
    )
    return answer
