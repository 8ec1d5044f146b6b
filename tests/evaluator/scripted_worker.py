"""A worker without torch, that does to a launch what the seeds of its jobs say."""

import os
import sys
import threading

from evaluator.frames import decode_request, encode, frame_length
from evaluator.jobs import (
    Batch,
    Calibrate,
    Calibrated,
    Failure,
    Job,
    Outcome,
    Progress,
    Ready,
    Reply,
    Request,
    failure_of,
)
from genome import Genome
from tests.support.jobs import CALIBRATION

CRASHES, HANGS, HUNGRY, DIVERGES, STRANGE = range(901, 906)


def receive() -> Request:
    header = os.read(0, 4)
    if not header:
        os._exit(0)
    body, length = b"", frame_length(header)
    while len(body) < length:
        body += os.read(0, length - len(body))
    return decode_request(body)


def send(reply: Reply) -> None:
    os.write(1, encode(reply))


def objectives(job: Job) -> dict[str, float]:
    """Objectives of a network, the better the narrower it is."""
    width = float(dict(Genome.decode(job.genome).values)["width1"])
    return {"accuracy": 1.0 - width / 4096, "memory": width, "speed": 1.0 / width}


def answer(job: Job, company: int) -> Outcome | Failure:
    if job.seed == DIVERGES:
        return failure_of(job, "diverged", "at step 3")
    return Outcome(
        number=job.number,
        genome=job.genome_id,
        task=job.task,
        task_id=job.task_id,
        tier=job.tier,
        seed=job.seed,
        arithmetic=job.arithmetic,
        backend="scripted",
        purpose=job.purpose,
        split=job.split,
        objectives={"company": float(company), "pid": float(os.getpid()), **objectives(job)},
    )


def serve(jobs: tuple[Job, ...]) -> None:
    seeds = {job.seed for job in jobs}
    for job in jobs:
        send(Progress(number=job.number, done=0.5))
    # What is good is answered before the bad thing happens, so that it is seen to be kept.
    for job in jobs:
        if job.seed < CRASHES and seeds & {CRASHES, HANGS}:
            send(answer(job, len(jobs)))
            break
    if CRASHES in seeds:
        sys.stderr.write("farewell\n")
        sys.stderr.flush()
        os._exit(7)
    if HANGS in seeds:
        threading.Event().wait()
    if STRANGE in seeds:
        send(Progress(number=len(jobs), done=1.0))
    for job in jobs:
        hungry = HUNGRY in seeds
        send(failure_of(job, "out-of-memory", "no more") if hungry else answer(job, len(jobs)))


def main() -> None:
    send(Ready(pid=os.getpid(), versions={}, backends={}))
    while True:
        request = receive()
        if isinstance(request, Calibrate):
            send(Calibrated(calibration=CALIBRATION))
        elif isinstance(request, Job | Batch):
            serve(request.jobs if isinstance(request, Batch) else (request,))


if __name__ == "__main__":
    main()
