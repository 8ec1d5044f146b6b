"""The lab's process: `python -P -m evaluator.lab --memory BYTES --nice N --seconds S`.

Orders come in on standard input, reports go out on standard output, lines of JSON both ways. It ends with its input,
or after so many seconds.
"""

import argparse
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from evaluator import limits
from evaluator.errors import EvaluatorError
from evaluator.lab.messages import (
    MOST_LINE_BYTES,
    Ended,
    Order,
    Pace,
    Report,
    Restart,
    Set,
    Settings,
    Told,
    decode_order,
    line_of,
)

if TYPE_CHECKING:
    from evaluator.lab.session import Session

__all__ = ["main"]

# At most ten frames a second, and four fifths of the time for the training: a frame costs as much as several steps.
_FRAME_S = 0.1
_PAUSE = 4
_STEPS_PER_S = 20.0


def main() -> None:
    """Serve orders until the parent closes the pipe or time is up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    # Whatever prints must not reach the pipe of reports: standard output becomes standard error.
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
    limits.apply(memory_bytes=arguments.memory, nice=arguments.nice)

    def send(report: Report) -> None:
        output.write(line_of(report))

    threading.Thread(target=_read_orders, args=(orders,), daemon=True).start()
    try:
        why = _serve(orders, send, arguments.seconds)
    except MemoryError:
        why = "The lab needs more memory than it may have. Choose a smaller network."
    send(Ended(why=why))


def _serve(orders: "queue.SimpleQueue[Order]", send: Callable[[Report], None], seconds: float) -> str:
    import torch  # noqa: PLC0415 - it has to see the limits

    from evaluator.lab.session import Session  # noqa: PLC0415

    torch.set_num_threads(1)
    session = Session(Settings())
    pace, owed = _STEPS_PER_S, 0
    began = shown = time.monotonic()
    due, stale = began, True
    while (now := time.monotonic()) - began < seconds:
        if stale and now >= shown:
            send(session.frame(pace))
            done = time.monotonic()
            shown, stale = done + max(_FRAME_S, _PAUSE * (done - now)), False
        moving = session.going and (pace > 0 or owed > 0)
        # What comes next: a step, a frame, or the end.
        soonest = min([began + seconds, *([shown] if stale else []), *([due] if moving and not owed else [])])
        try:
            wait = 0.0 if moving and owed else max(0.0, soonest - now)
            order = orders.get(timeout=wait) if wait > 0 else orders.get_nowait()
        except queue.Empty:
            if moving and (owed or time.monotonic() >= due):
                session.step()
                stale, owed = True, max(0, owed - 1)
                # After a halt nothing is made up for.
                due = max(due + 1 / pace if pace else now, now)
            continue
        refused = None
        if isinstance(order, Pace):
            pace, owed, due = order.steps_per_s, owed + order.once, now
        else:
            refused = _obey(session, order)
        send(Told(number=order.number, refused=refused))
        stale = True
    return f"The lab ends after {seconds / 60:.0f} minutes. Reload the page for another."


def _obey(session: "Session", order: Set | Restart) -> str | None:
    """Give a session other settings; why it refuses them, or None."""
    try:
        if isinstance(order, Restart):
            session.restart(order.settings)
        else:
            session.switch(order.settings)
    except EvaluatorError as error:
        return str(error)
    return None


def _read_orders(orders: "queue.SimpleQueue[Order]") -> None:
    """Feed the queue; end the process when the parent is gone, whatever it is doing."""
    held = b""
    while True:
        # Not sys.stdin: its buffer is locked while this thread waits, which breaks an ordinary exit.
        chunk = os.read(0, 65536)
        if not chunk:
            os._exit(0)
        *lines, held = (held + chunk).split(b"\n")
        try:
            for line in lines:
                orders.put(decode_order(line))
            if len(held) > MOST_LINE_BYTES:
                decode_order(held)  # which says how long a line may be
        except EvaluatorError as error:
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
            os._exit(2)


if __name__ == "__main__":
    main()
