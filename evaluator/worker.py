"""The child's main: apply limits, then import torch, then loop over jobs until standard input ends.

Run as `python -P -m evaluator.worker --memory BYTES --nice N`; frames of evaluator.jobs go in and out.
"""

import argparse
import os
import queue
import sys
import threading

from evaluator import limits
from evaluator.errors import EvaluatorError
from evaluator.frames import decode_request, encode, frame_length
from evaluator.jobs import Batch, Calibrate, Reply, Request

__all__ = ["main"]


def main() -> None:
    """Serve jobs until the parent closes the pipe; the process then ends at once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--nice", type=int, required=True)
    arguments = parser.parse_args()
    # Whatever prints must not reach the pipe of frames: standard output becomes standard error.
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    limits.apply(memory_bytes=arguments.memory, nice=arguments.nice)

    from evaluator import service  # noqa: PLC0415 - loads torch, which has to see the limits

    def send(reply: Reply) -> None:
        output.write(encode(reply))

    send(service.ready())
    while True:
        request = requests.get()
        if isinstance(request, Batch):
            service.run_batch(request, send)
        elif isinstance(request, Calibrate):
            send(service.calibrated(request))
        else:
            send(service.run(request, send))


def _read_requests(requests: "queue.SimpleQueue[Request]") -> None:
    """Feed the queue; end the process when the parent is gone, also in the middle of a job."""
    while True:
        try:
            requests.put(decode_request(_exactly(frame_length(_exactly(4)))))
        except EvaluatorError as error:
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
            os._exit(2)


def _exactly(count: int) -> bytes:
    """So many bytes of standard input; its end is the end of this process."""
    parts: list[bytes] = []
    while count:
        # Not sys.stdin: its buffer is locked while this thread waits, which breaks an ordinary exit.
        chunk = os.read(0, count)
        if not chunk:
            os._exit(0)
        parts.append(chunk)
        count -= len(chunk)
    return b"".join(parts)


if __name__ == "__main__":
    main()
