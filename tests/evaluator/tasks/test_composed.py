"""Tasks of several data sets: rows that take turns, a head and an accuracy for each, and what is refused."""

from typing import Any

import numpy as np
import pytest

from evaluator.build import build
from evaluator.cost import cost_of
from evaluator.errors import SealedSplitError, TaskError
from evaluator.groups import group_key
from evaluator.jobs import ARITHMETIC, Job
from evaluator.measure import run_network
from evaluator.setups import RefusedError
from evaluator.tasks import DatasetTask, TestPermit, names, resolve, task_id
from evaluator.tasks.composed import interleaved, total
from genome import preset
from genome.spaces import SPACES
from kernels import KernelError

PAIR = "digits+digits-parity"


def task(name: str = PAIR) -> DatasetTask:
    found = resolve(name)
    assert isinstance(found, DatasetTask)
    return found


def job(name: str = "shallow", **changes: Any) -> Job:
    genome = preset(name)
    if genes := changes.pop("genes", {}):
        space = SPACES[genome.space.removesuffix("/1")]
        genome = space.genome(space.repair({**dict(genome.values), **genes}))
    composed = task()
    return Job(
        **{
            "number": 1,
            "task": PAIR,
            "task_id": task_id(composed, composed.tier("smoke")),
            "tier": "smoke",
            "genome": genome.canonical(),
            "genome_id": genome.id,
            "seed": 0,
            **changes,
        }
    )


def outcome(asked: Job) -> Any:
    from genome import Genome

    composed = task()
    return run_network(
        asked,
        composed,
        composed.tier(asked.tier),
        Genome.decode(asked.genome),
        on_progress=lambda _done, _accuracy: None,
        versions={},
    )


def test_a_composed_task_is_what_its_parts_are() -> None:
    composed = task()
    assert composed.name == PAIR and composed.heads == (10, 2) and composed.classes == 12
    assert [each.name for each in composed.objectives] == [
        "accuracy.digits",
        "accuracy.digits-parity",
        "speed",
        "memory",
    ]
    assert composed.image == (1, 8, 8)
    assert [tier.name for tier in composed.tiers] == ["smoke", "quick", "standard", "full"]
    assert composed.tier("smoke").train_limit == 512 and composed.tier("quick").train_limit is None
    assert PAIR not in names()


def test_each_order_of_parts_is_a_task_of_its_own() -> None:
    one, other = task(), task("digits-parity+digits")
    assert task_id(one, one.tier("smoke")) != task_id(other, other.tier("smoke"))
    assert other.heads == (2, 10)


def test_rows_take_turns() -> None:
    assert interleaved([3, 2]).tolist() == [0, 3, 1, 4, 2]
    assert interleaved([1, 3, 2]).tolist() == [0, 1, 4, 2, 5, 3]
    assert total([None, 100, 50]) == 150
    assert total([None, None]) is None


def test_splits_hold_the_parts_rows_and_labels() -> None:
    data, digits = task().load(), task("digits").load()
    assert len(data.train_x) == 2 * len(digits.train_x)
    assert np.array_equal(data.train_x[::2], digits.train_x)
    assert np.array_equal(data.train_x[1::2], digits.train_x)
    assert np.array_equal(data.train_y[::2], digits.train_y)
    assert np.array_equal(data.train_y[1::2], 10 + digits.train_y % 2)
    assert np.array_equal(data.validation_x[::2], digits.validation_x)
    few = data.at(task().tier("smoke"))
    assert np.array_equal(few.train_y[::2], digits.train_y[:256])
    with pytest.raises(SealedSplitError):
        data.open_test(None)  # type: ignore[arg-type]
    x, y = data.open_test(TestPermit(reason="report"))
    assert len(x) == 720 and (y >= 10).sum() == 360


def test_parity_is_of_the_same_rows() -> None:
    parity, digits = task("digits-parity").load(), task("digits").load()
    assert np.array_equal(parity.validation_x, digits.validation_x)
    assert np.array_equal(parity.validation_y, digits.validation_y % 2)
    permit = TestPermit(reason="report")
    assert np.array_equal(parity.open_test(permit)[1], digits.open_test(permit)[1] % 2)


def test_accuracy_is_that_of_each_part_on_its_own_rows_among_its_own_classes() -> None:
    composed = task()
    y = np.array([3, 11, 4, 10])
    scores = np.zeros((4, 12))
    scores[:, 10:] = 9.0  # of digits' rows the classes of parity are none
    scores[0, 3] = scores[2, 5] = 1.0
    scores[1, 11] = scores[3, 11] = 10.0
    scores[1, 2] = scores[3, 2] = 99.0
    predicted = composed.predicted(scores, y)
    assert predicted.tolist() == [3, 11, 5, 11]
    assert composed.accuracies(predicted, y) == {"accuracy.digits": 0.5, "accuracy.digits-parity": 0.5}
    assert composed.accuracies(np.array([3, 11, 4, 11]), y) == {
        "accuracy.digits": 1.0,
        "accuracy.digits-parity": 0.5,
    }


@pytest.mark.parametrize("name", ["shallow", "ep", "backprop", "conv"])
def test_networks_learn_both(name: str) -> None:
    found = outcome(job(name, tier="quick"))
    assert found.objectives["accuracy.digits"] > 0.85
    assert found.objectives["accuracy.digits-parity"] > 0.85
    assert found.examples == 720
    both = (found.objectives["accuracy.digits"] + found.objectives["accuracy.digits-parity"]) / 2
    assert found.correct == round(720 * both)
    assert set(found.objectives) == {"accuracy.digits", "accuracy.digits-parity", "memory"}


def test_a_run_is_the_same_again_and_another_with_another_seed() -> None:
    first, again, other = outcome(job()), outcome(job()), outcome(job(seed=1))
    assert first.checkpoints == again.checkpoints
    assert first.checkpoints[-1] != other.checkpoints[-1]


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_the_cost_is_that_of_the_tensors(optimizer: str) -> None:
    composed = task()
    space = SPACES["mlp"]
    genes = dict(space.genome(space.repair({**dict(preset("deep").values), "optimizer": optimizer})).values)
    learner = build(
        genes, inputs=64, classes=12, seed=bytes(32), arithmetic="fp32", backend="auto", heads=composed.heads
    )
    held = sum(part.nbytes for part in learner.parameters().values())
    cost = cost_of(genes, inputs=64, classes=12, arithmetic="fp32", heads=composed.heads)
    assert cost.parameter_bytes == held
    one = cost_of(genes, inputs=64, classes=12, arithmetic="fp32", heads=(12,))
    # Orthogonalising 10 x n and 2 x n takes fewer products than 12 x n; other optimizers see no heads.
    assert (cost.macs_per_step < one.macs_per_step) == (optimizer == "muon")
    assert cost.peak_bytes <= one.peak_bytes


def test_products_are_those_that_torch_runs() -> None:
    import warnings

    from torch.utils.flop_counter import FlopCounterMode

    space = SPACES["mlp"]
    for name, changes in (
        ("shallow", {}),
        ("deep", {"optimizer": "adam", "skip": "two"}),
        ("ep", {}),
        ("backprop", {}),
    ):
        genes = dict(space.genome(space.repair({**dict(preset(name).values), **changes})).values)
        batch = int(genes["batch"])
        learner = build(
            genes, inputs=64, classes=12, seed=bytes(32), arithmetic="fp32", backend="auto", heads=(10, 2)
        )
        x = np.linspace(0, 1, batch * 64, dtype=np.float32).reshape(batch, 64)
        with warnings.catch_warnings(), FlopCounterMode(display=False) as counter:
            warnings.simplefilter("ignore")
            learner.step(x, np.arange(batch) % 12, scale=1.0)
        cost = cost_of(genes, inputs=64, classes=12, arithmetic="fp32", heads=(10, 2))
        assert cost.macs_per_step == counter.get_total_flops() / 2, name


def test_jobs_of_composed_tasks_share_no_launch() -> None:
    small = {"width1": 16, "batch": 16}
    for arithmetic in ARITHMETIC:
        assert group_key(job(genes=small, arithmetic=arithmetic, purpose="rescore")) is None
    digits = task("digits")
    plain = job(genes=small, task="digits", task_id=task_id(digits, digits.tier("smoke")), purpose="rescore")
    assert group_key(plain) is not None


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("shallow", {"arithmetic": "exact-1"}, "several heads on one body compute in fp32 on torch-cpu"),
        ("shallow", {"arithmetic": "bf16"}, "several heads on one body compute in fp32 on torch-cpu"),
        ("shallow", {"backend": "triton"}, "got fp32 on 'triton'"),
        (
            "shallow",
            {"genes": {"estimate": "linearised"}},
            "linearised estimate is an algorithm of the engine",
        ),
        ("holomorphic", {}, "several heads on one body learn by"),
        ("predictive-coding", {}, "several heads on one body learn by"),
        ("feedback-alignment", {}, "needs dense weights|several heads on one body learn by"),
    ],
)
def test_what_cannot_have_heads_is_refused(name: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(KernelError, match=words):
        outcome(job(name, **changes))


def test_what_reads_one_heads_scores_is_refused() -> None:
    with pytest.raises(RefusedError, match="telemetry by epoch and probes read one head"):
        outcome(job(telemetry=True))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits+mnist", r"inputs of one size, got digits 64, mnist 784"),
        ("digits+digits", r"two or more different tasks, got digits, digits"),
        ("digits+zdt1", r"made of tasks with data, one head each, got zdt1"),
        ("digits+", "known tasks are"),
        ("digits+digit", "Did you mean 'digits'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(name: str, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        resolve(name)
