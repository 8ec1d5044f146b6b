"""Which jobs may share a launch: what the job says, and nothing else."""

from typing import Any

import msgspec
import pytest

from evaluator.groups import BATCH, PARAMETERS, PRODUCT, fills_launches, group_key
from evaluator.jobs import Job
from genome import Genome, Integer, SearchSpace, preset
from genome.spaces import MLP
from tests.support.jobs import function_job, job

SMALL = {"width1": 16, "batch": 16}


def genome(name: str = "shallow", **changes: Any) -> Genome:
    return MLP.genome({**dict(preset(name).values), **SMALL, **changes})


def rescored(found: Genome | None = None, **changes: Any) -> Job:
    return job(found or genome(), **({"purpose": "rescore"} | changes))


def test_fresh_seeds_of_one_genome_belong_together() -> None:
    keys = {
        group_key(rescored(seed=seed, number=seed, diagnose=bool(seed), deadline_s=seed + 1.0))
        for seed in range(4)
    }
    assert len(keys) == 1
    assert None not in keys


@pytest.mark.parametrize("changes", [{"lr_adam": 0.01}, {"beta_ce": 0.1}])
def test_rates_and_nudges_are_each_members_own(changes: dict[str, float]) -> None:
    assert group_key(rescored(genome(**changes))) == group_key(rescored())


def without(found: Genome, *names: str) -> dict[str, Any]:
    return {name: value for name, value in dict(found.values).items() if name not in names}


@pytest.mark.parametrize(
    "other",
    [
        genome(width1=24),
        genome(batch=32),
        genome(clip=2.0),
        genome(estimate="one-sided"),
        genome(nudged_steps=2),
        genome(schedule="constant"),
        MLP.genome({**without(genome(), "lr_adam"), "optimizer": "sgd", "lr_sgd": 0.1, "momentum": 0.9}),
        MLP.genome({**dict(genome().values), "optimizer": "adamw", "weight_decay": 0.01}),
    ],
)
def test_what_members_must_share_parts_them(other: Genome) -> None:
    key = group_key(rescored(other))
    assert key is not None
    assert key != group_key(rescored())


@pytest.mark.parametrize(
    "changes",
    [
        {"tier": "quick"},
        {"split": "test"},
        {"purpose": "report"},
        {"arithmetic": "exact-1"},
        {"backend": "torch-cpu"},
        {"checkpoints": 7},
    ],
)
def test_jobs_of_another_kind_go_apart(changes: dict[str, Any]) -> None:
    key = group_key(rescored(**changes))
    assert key is not None
    assert key != group_key(rescored())


@pytest.mark.parametrize(
    "alone",
    [
        rescored(purpose="search"),
        rescored(purpose="export"),
        rescored(evidence=True, spool="/somewhere"),
        rescored(arithmetic="bf16"),
        rescored(backend="reference"),
        rescored(genome("backprop")),
        rescored(genome("ep", stop="tolerance", tolerance=0.1)),
        rescored(genome("ep", spectral="clip", gamma=1.0)),
        rescored(genome("deep", width2=16), arithmetic="exact-1"),
        rescored(genome(batch=256)),
        rescored(genome(width1=1024)),
        msgspec.structs.replace(rescored(), genome=b"\xc1"),
        msgspec.structs.replace(rescored(), task="no such task"),
        function_job("Bowl", {"a": 0.3, "b": 0.7, "mood": "good"}, purpose="rescore"),
    ],
)
def test_the_others_are_trained_alone(alone: Job) -> None:
    assert group_key(alone) is None


def test_genes_that_populations_do_not_know_are_never_grouped() -> None:
    space = SearchSpace(
        "more", 1, (*MLP.genes, Integer("novelty", 1, 2, doc="Something that a learner alone can do."))
    )
    strange = space.genome({**dict(genome().values), "novelty": 1})
    assert group_key(rescored(strange)) is None
    assert group_key(rescored(strange, arithmetic="exact-1")) is None


def test_in_exact_1_a_search_and_evidence_may_share_too() -> None:
    for changes in ({"purpose": "search"}, {"evidence": True, "spool": "/somewhere"}, {"purpose": "rescore"}):
        assert group_key(job(genome(), arithmetic="exact-1", **changes)) is not None


def test_networks_are_grouped_as_far_as_it_was_measured_to_pay() -> None:
    # 64 inputs and 10 classes: 75 parameters a hidden unit, and 10.
    assert group_key(rescored(genome(width1=PARAMETERS // 75 - 1, batch=PRODUCT // PARAMETERS))) is not None
    assert group_key(rescored(genome(width1=PARAMETERS // 75 + 1, batch=8))) is None
    fits = PRODUCT // BATCH // 75 - 1
    assert group_key(rescored(genome(width1=fits, batch=BATCH))) is not None
    assert group_key(rescored(genome(width1=fits + 2, batch=BATCH))) is None
    assert group_key(rescored(genome(width1=8, batch=BATCH + 1))) is None


def test_on_triton_shapes_may_differ() -> None:
    def on_triton(found: Genome, **changes: Any) -> str | None:
        return group_key(job(found, **({"backend": "triton"} | changes)))

    key = on_triton(genome())
    assert key is not None
    assert key == on_triton(genome("ep", order="alternating"))
    assert on_triton(genome(width1=1024)) == on_triton(genome())
    assert on_triton(genome(batch=32)) != on_triton(genome())
    assert on_triton(genome("deep", width2=16)) is None  # muon
    assert on_triton(genome(skip="two")) is None
    assert on_triton(genome(), arithmetic="exact-1") is None
    assert fills_launches("fp32", "triton")
    assert not fills_launches("exact-1")
