"""An experiment that several tests read back: two seeds of the four regimes, learned once."""

from pathlib import Path

import pytest

from evaluator.incremental import run_neurogenesis
from evaluator.incremental.records import Run, read_runs
from tests.evaluator.incremental.runs import SMALL, few_digits


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment; to be read, and copied before it is changed."""
    out = tmp_path_factory.mktemp("experiment")
    for seed in (0, 1):
        for variant in ("cl", "cl+ir"):  # each runs its growing twin first
            run_neurogenesis(few_digits(), variant, seed, SMALL, out)
    return out


@pytest.fixture(scope="session")
def runs(experiment: Path) -> tuple[Run, ...]:
    """Its eight runs."""
    return read_runs(experiment)
