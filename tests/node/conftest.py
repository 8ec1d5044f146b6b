"""What several tests of the command line share."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evaluator import oneshot
from evaluator.errors import EvaluatorError
from evaluator.oneshot import Refused
from node.cli import main
from tests.support.calibration import keep_calibration

ROOT = Path(__file__).parents[2]

Eqmesh = Callable[..., tuple[int, str, str]]


@pytest.fixture
def eqmesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Eqmesh:
    """Run one command in a fresh folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQMESH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("EQMESH_WORKERS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    keep_calibration(tmp_path / "state")

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


@pytest.fixture
def answered_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions to a process of its own (`evaluator.oneshot`) are answered in this one, by what that process calls.

    It spares the seconds in which each of them would load its libraries. What the process itself is for, its limits and
    its end, is seen by the tests without this.
    """

    async def ask(module: str, question: msgspec.Struct, kind: Any, **_limits: object) -> Any:
        child = import_module(module)
        if hasattr(child, "__path__"):
            child = import_module(f"{module}.__main__")
        asked = msgspec.msgpack.decode(msgspec.msgpack.encode(question), type=child.Question)
        answer = msgspec.msgpack.decode(msgspec.msgpack.encode(child.answer(asked)), type=kind | Refused)
        if isinstance(answer, Refused):
            raise EvaluatorError(answer.detail)
        return answer

    monkeypatch.setattr(oneshot, "ask", ask)
