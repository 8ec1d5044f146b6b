"""What several tests of the command line share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node.cli import main

ROOT = Path(__file__).parents[2]

Eqmesh = Callable[..., tuple[int, str, str]]


@pytest.fixture
def eqmesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Eqmesh:
    """Run one command in a fresh folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQMESH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("EQMESH_WORKERS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call
