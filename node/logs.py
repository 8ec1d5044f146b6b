"""The log of a node: events with fields, to standard error; coloured on a terminal, one line of key=value elsewhere."""

import sys
from collections.abc import Callable

import structlog

from node import output

__all__ = ["Log", "node_log"]

Log = Callable[..., None]
"""Takes the name of an event and its fields."""


def node_log() -> Log:
    """A log that writes at once. Times are UTC."""
    terminal = output.interactive()
    render = (
        structlog.dev.ConsoleRenderer(colors=True, pad_event_to=0)
        if terminal
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "event"])
    )
    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True), render],
    )

    def log(event: str, **fields: object) -> None:
        logger.info(event, **fields)

    return log
