from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from evaluator.errors import SurroundingsError
from evaluator.weights import pack, spool

PARAMETERS = {"w0-1": np.arange(6, dtype=np.float32).reshape(2, 3), "b1": np.zeros(2, dtype=np.float32)}


def test_weights_are_named_by_their_content(tmp_path: Path) -> None:
    name, body = pack(PARAMETERS)
    path = spool(tmp_path, name, body)
    assert path.name == f"{name}.safetensors"
    again = load(path.read_bytes())
    assert set(again) == set(PARAMETERS)
    for key, value in PARAMETERS.items():
        np.testing.assert_array_equal(again[key], value)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_equal_weights_have_one_name_whatever_the_order() -> None:
    assert pack(PARAMETERS)[0] == pack(dict(reversed(PARAMETERS.items())))[0]
    assert pack(PARAMETERS)[0] != pack({**PARAMETERS, "b1": np.ones(2, dtype=np.float32)})[0]


def test_weights_that_cannot_be_written_are_no_fault_of_the_genome(tmp_path: Path) -> None:
    name, body = pack(PARAMETERS)
    (tmp_path / "file").touch()
    with pytest.raises(SurroundingsError, match="Make room"):
        spool(tmp_path / "file", name, body)
