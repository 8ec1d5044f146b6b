"""A child process that computes for a command: asked with what the settings allow it."""

import os
from pathlib import Path
from typing import Protocol, TypeVar

import trio

from node.errors import SettingsError
from node.settings import resolve

__all__ = ["ask_child"]

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Question_contra = TypeVar("Question_contra", contravariant=True)
Answer_co = TypeVar("Answer_co", covariant=True)


class _Ask(Protocol[Question_contra, Answer_co]):
    async def __call__(
        self, question: Question_contra, /, *, memory_bytes: int, nice: int, deadline_s: float
    ) -> Answer_co: ...


def ask_child(ask: _Ask[Question, Answer], question: Question, *, deadline_s: float) -> Answer:
    """What `ask` brings back from a process with the memory and priority of the settings.

    Raises SettingsError for settings that are wrong or a deadline that is not above 0, and what `ask` raises.
    """
    if not deadline_s > 0:
        raise SettingsError(f"--deadline must be above 0 seconds, got {deadline_s:g}.")
    settings = resolve({}, folder=Path.cwd(), environ=os.environ).settings
    return trio.run(
        lambda: ask(
            question,
            memory_bytes=settings.worker_memory * 2**20,
            nice=settings.nice,
            deadline_s=deadline_s,
        )
    )
