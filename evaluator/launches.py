"""Jobs that share a launch, and the callers who wait for each of them."""

from collections.abc import Callable, Sequence

import msgspec
import trio

from evaluator.jobs import Batch, Failure, Job, Outcome, Progress, Reply, Result

__all__ = ["Launch", "Ticket"]


class Ticket:
    """One job that may share a launch, and its caller's wait for it.

    Every ticket has a task that waits for a worker, inside `scope`, and leads a launch once it has one, unless another
    takes its job along before. `key` None: it goes alone. `left` is set once that task has ended.
    """

    def __init__(self, job: Job, key: str | None, on_progress: Callable[[Progress], None]) -> None:
        self.job = job
        self.key = key
        self.leads = self.forsaken = False
        self.launch: Launch | None = None
        self.result: Result | None = None
        self.error: str | None = None
        self.settled = trio.Event()
        self._on_progress = on_progress
        self.begin()

    def begin(self) -> None:
        """Wait for a worker, from the start."""
        self.scope, self.left = trio.CancelScope(), trio.Event()
        self.leads, self.launch = False, None

    def hear(self, progress: Progress) -> None:
        """Tell the caller how far the job is."""
        if not self.forsaken:
            self._on_progress(msgspec.structs.replace(progress, number=self.job.number))

    def settle(self, result: Result) -> None:
        """Give the caller its result."""
        self.result = msgspec.structs.replace(result, number=self.job.number)
        self.settled.set()

    def give_up(self, why: str) -> None:
        """Tell the caller that no worker can be had."""
        self.error = why
        self.settled.set()


class Launch:
    """Jobs of one key that a worker trains together, led by the first of them.

    In a launch of several, whatever fails by more than its own numbers is owed to anyone: `again` then names the jobs
    that have to show alone what they come to.
    """

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self.tickets = tuple(tickets)
        self.scope = tickets[0].scope
        self.over = trio.Event()
        self.again: list[Ticket] = []
        self._open = dict(enumerate(tickets))
        for ticket in tickets:
            ticket.launch = self

    @property
    def several(self) -> bool:
        """Whether there is company."""
        return len(self.tickets) > 1

    @property
    def wanted(self) -> bool:
        """Whether anyone still waits for an answer."""
        return any(not (ticket.forsaken or ticket.settled.is_set()) for ticket in self.tickets)

    @property
    def answered(self) -> bool:
        """Whether every job has its answer."""
        return not self._open

    @property
    def deadline_s(self) -> float:
        """Seconds that it may take: what its jobs may take one after the other."""
        return sum(ticket.job.deadline_s for ticket in self.tickets)

    def request(self) -> Batch:
        """What the worker is asked, the jobs numbered anew: their own numbers need not differ."""
        return Batch(
            jobs=tuple(
                msgspec.structs.replace(ticket.job, number=number)
                for number, ticket in enumerate(self.tickets)
            )
        )

    def take(self, reply: Reply) -> bool:
        """Take in a reply of the worker; False for one that answers none of these jobs."""
        if isinstance(reply, Progress) and reply.number in self._open:
            self._open[reply.number].hear(reply)
            return True
        if isinstance(reply, Outcome | Failure) and reply.number in self._open:
            ticket = self._open.pop(reply.number)
            if self.several and isinstance(reply, Failure) and reply.kind != "diverged":
                self.again.append(ticket)
            else:
                ticket.settle(reply)
            return True
        return False

    def fail(self, failure: Callable[[Job], Failure]) -> None:
        """End the jobs that have no answer yet."""
        for ticket in self._open.values():
            if self.several:
                self.again.append(ticket)
            else:
                ticket.settle(failure(ticket.job))
        self._open.clear()
