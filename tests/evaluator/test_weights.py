from pathlib import Path

import numpy as np
import pytest

from evaluator.errors import EvaluatorError
from evaluator.weights import pack, read, spool

PARAMETERS = {"w0-1": np.arange(6, dtype=np.float32).reshape(2, 3), "b1": np.zeros(2, dtype=np.float32)}


def test_weights_are_named_by_their_content(tmp_path: Path) -> None:
    name, body = pack(PARAMETERS)
    path = spool(tmp_path, name, body)
    assert path.name == f"{name}.safetensors"
    again = read(path, name)
    assert set(again) == set(PARAMETERS)
    for key, value in PARAMETERS.items():
        np.testing.assert_array_equal(again[key], value)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_equal_weights_have_one_name_whatever_the_order() -> None:
    assert pack(PARAMETERS)[0] == pack(dict(reversed(PARAMETERS.items())))[0]
    assert pack(PARAMETERS)[0] != pack({**PARAMETERS, "b1": np.ones(2, dtype=np.float32)})[0]


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    name, body = pack(PARAMETERS)
    path = spool(tmp_path, name, body[:-1] + b"\x01")
    with pytest.raises(EvaluatorError, match="must hash to their name"):
        read(path, name)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    import hashlib

    body = b"not safetensors"
    name = hashlib.sha256(body).hexdigest()
    with pytest.raises(EvaluatorError, match="no safetensors"):
        read(spool(tmp_path, name, body), name)
