"""`eqmesh experiment incremental` on a few digits, in a child process as it runs for users."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from evaluator.errors import EvaluatorError
from evaluator.incremental.classifier.__main__ import answer, course_of
from evaluator.incremental.classifier.messages import LearnClasses, Learned
from evaluator.oneshot import Refused, answer_of
from tests.node.conftest import ROOT, Eqmesh

ARGUMENTS = ("experiment", "incremental", "--seeds", "1", "--smoke", "--per-class", "20")
QUESTION = LearnClasses(
    dataset="digits",
    variants=("ndl",),
    seeds=(0,),
    order_seed=None,
    split="validation",
    smoke=True,
    per_class=20,
    out="",
)


def test_runs_are_learned_shown_and_kept(eqmesh: Eqmesh, tmp_path: Path) -> None:
    code, out, err = eqmesh(*ARGUMENTS, "--variant", "all", "--out", "made")
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in lines[2:7]] == [
        [name, "1"] for name in ("ndl", "cl", "ndl+ir", "cl+ir", "joint")
    ]
    assert "ndl+ir, seed 0: [9/9] learned 9" in err
    made = tmp_path / "made"
    for name in ("ndl", "cl", "ndl-ir", "cl-ir", "joint"):
        files = {path.name for path in (made / name / "seed-0").iterdir()}
        assert files == {
            *("accuracy.csv", "accuracy.png", "growth.csv", "manifest.json", "checkpoint.safetensors"),
        }
    code, out, err = eqmesh(*ARGUMENTS, "--variant", "cl+ir", "--out", "made", "--json")
    (result,) = json.loads(out)
    assert (code, result["variant"], result["seed"]) == (0, "cl+ir", 0)
    assert "learned" not in err, "what was learned is not learned again"
    record = json.loads((made / "cl-ir" / "seed-0" / "manifest.json").read_text())
    assert record["result"] == result
    # Another experiment in the same folder is refused, and nothing is overwritten.
    code, _, err = eqmesh(*ARGUMENTS, "--variant", "ndl", "--out", "made", "--order", "4")
    assert code == 1
    assert "Choose another folder" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seeds", "0"), "--seeds must be at least 1"),
        (("--first-seed", "-1"), "--first-seed 0"),
        (("--order", "random"), "--order expects fixed or a seed"),
        (("--per-class", "1"), "--per-class must be at least 2"),
        (("--deadline", "0"), "--deadline must be above 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(eqmesh: Eqmesh, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = eqmesh("experiment", "incremental", "--out", "none", *arguments)
    assert (code, out) == (1, "")
    assert words in err
    assert not Path("none").exists()


def test_the_process_of_the_command_loads_no_torch() -> None:
    script = "import sys, node.commands.incremental; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=240)
    assert done.returncode == 0


def test_a_smoke_run_learns_few_samples_a_class() -> None:
    data, settings = course_of(QUESTION)
    assert [int((data.train_y == label).sum()) for label in data.classes] == [20] * 10
    assert settings.learn_epochs == 10
    whole, longer = course_of(msgspec.structs.replace(QUESTION, smoke=False, per_class=None, split="test"))
    assert len(whole.train_x) + len(whole.test_x) == 1797
    assert longer.learn_epochs == 40
    few, _ = course_of(msgspec.structs.replace(QUESTION, per_class=None))
    assert max(int((few.train_y == label).sum()) for label in few.classes) == 60


def test_what_the_child_cannot_do_it_says(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = answer(msgspec.structs.replace(QUESTION, out=str(tmp_path / "file")))
    assert isinstance(found, Refused)
    assert "Choose another" in found.detail
    ended = subprocess.CompletedProcess([], returncode=-9, stdout=b"", stderr=b"")
    with pytest.raises(EvaluatorError, match="exit status -9"):
        answer_of(ended, Learned)
