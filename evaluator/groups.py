"""Which jobs may be trained together: those of one key, whose results do not depend on their company. Pure.

Whether a job takes the path of populations follows from the job alone, and a member of a population gets the same bits
in any company, so who waited beside it never shows in a result. Loads no torch.
"""

from collections.abc import Mapping

import msgspec

from eqmesh import EqmeshError
from evaluator.jobs import Job, JobArithmetic
from evaluator.shape import shape_of
from evaluator.tasks import DatasetTask, resolve
from genome import Genome, Value

__all__ = ["BATCH", "PARAMETERS", "PRODUCT", "fills_launches", "group_key"]

# Where it pays on a CPU to train networks side by side, measured on one core as the time of a network's step in a
# group of 16 over that alone, for one hidden layer, in fp32 and in exact-1: 64-16-10 .17 and .14 (batch 16), 64-64-10
# .28 and .19, 64-256-10 .47 and .37, 784-64-10 .60 and .47; at batch 128 .34 and .31, .54 and .43, .77 and .74, and .92
# and .96. 784-128-10 gains nothing in fp32 at any batch. Larger batches than 128 were not measured.
PARAMETERS = 2**16
"""Most weights and biases of a network that is trained in a group on a CPU."""
BATCH = 128
"""Largest batch of a network that is trained in a group on a CPU."""
PRODUCT = 2**22
"""Largest product of both."""

_TORCH = ("auto", "torch-cpu", "torch-cuda")
# Fresh seeds of one genome: what is compared with a search's own score is a mean over many such trainings, so that it
# may differ from the search's arithmetic in its last bits.
_REPEATED = ("rescore", "report")
# Genes in which members of one population on a CPU agree, and those in which they may differ. A genome with any other
# gene is of a network that populations do not know: it is trained alone.
_SHARED = frozenset(
    [
        "credit",
        "depth",
        "width1",
        "width2",
        "width3",
        "skip",
        "output",
        "clip",
        "estimate",
        "scheme",
        "step_size",
        "order",
        "free_steps",
        "nudged_steps",
        "stop",
        "optimizer",
        "ns_steps",
        "spectral",
        "batch",
        "schedule",
    ]
)
_OWN = frozenset(
    ["beta_ce", "beta_mse", "gain", "lr_adam", "lr_bias", "lr_muon", "lr_sgd", "momentum", "weight_decay"]
)
# Those whose steps are known to give a member the same bits in any company.
_OPTIMIZERS = ("adam", "adamw", "sgd", "muon")


def fills_launches(arithmetic: JobArithmetic, backend: str = "auto") -> bool:
    """Whether so many jobs of a search may share a launch that it should have a launch of them in flight.

    On triton, where shapes may differ. Not on a CPU, although jobs in exact-1 that happen to wait together share one:
    of the 121 genomes that two searches on digits began with, 49 could be grouped and four pairs had equal keys. More
    asks in flight would only let a search learn later from what it asked.
    """
    return backend == "triton" and arithmetic == "fp32"


def group_key(job: Job) -> str | None:
    """The group that a job belongs to, or None where it is trained alone: jobs of one key may share a launch.

    On a CPU networks are grouped that take fixed sweeps, are small enough to gain from it (see PARAMETERS), and agree
    in all but seeds, first weights, rates, momentum, decay and the strength of the nudge: in exact-1, where their bits
    are those of networks alone, whatever they are trained for; in fp32 when they are scored again or for a report, but
    not for evidence, which a stranger replays with a network alone. On triton their shapes may differ.
    """
    exact = job.arithmetic == "exact-1" and job.backend in _TORCH
    if not (exact or fills_launches(job.arithmetic, job.backend) or _repeated(job)):
        return None
    try:
        task = resolve(job.task)
        values = dict(Genome.decode(job.genome).values)
        if not isinstance(task, DatasetTask) or task.heads or not _groupable(values):
            return None
        kind = _kind(values, task, job)
    except (EqmeshError, KeyError, ValueError):
        # What is wrong with a job the worker tells, of this job alone.
        return None
    if kind is None:
        return None
    where = (job.task, job.task_id, job.tier, job.space, job.split, job.purpose)
    how = (job.arithmetic, job.backend, job.checkpoints)
    return msgspec.json.encode((where, how, kind)).decode()


def _repeated(job: Job) -> bool:
    return (
        job.arithmetic == "fp32" and job.backend in _TORCH and job.purpose in _REPEATED and not job.evidence
    )


def _groupable(values: Mapping[str, Value]) -> bool:
    """Whether any population could hold this network: it learns by EP, with no tolerance that ends a phase earlier."""
    # A capped spectral norm is brought about by rounds whose number the worst member of a group would set.
    return (
        values.keys() <= _SHARED | _OWN
        and values["credit"] == "ep"
        and values["optimizer"] in _OPTIMIZERS
        and values.get("spectral") != "clip"
    )


def _kind(values: Mapping[str, Value], task: DatasetTask, job: Job) -> tuple[object, ...] | None:
    batch = int(values["batch"])
    if job.backend == "triton":
        odd = (
            values.get("skip") == "two"
            or values.get("scheme") == "synchronous"
            or values["estimate"] == "linearised"
            or values["optimizer"] == "muon"
        )
        return None if odd else (batch,)
    if job.arithmetic == "exact-1" and values["optimizer"] == "muon":
        return None
    shape = shape_of(values, inputs=task.inputs, classes=task.classes)
    if shape.parameters > PARAMETERS or batch > BATCH or shape.parameters * batch > PRODUCT:
        return None
    return tuple(sorted((name, value) for name, value in values.items() if name in _SHARED))
