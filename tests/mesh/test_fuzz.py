"""Whatever bytes come in, a node goes on; `python -m tests.bench.fuzz` is the long version, and times it."""

import pytest

from tests.bench.fuzz import DOORS, run


@pytest.mark.parametrize("seed", [2, 3])
def test_no_bytes_of_a_peer_raise_more_than_errors_of_the_protocol(seed: int) -> None:
    found = run(500, seed)
    assert {one.door for one in found.tries} == set(DOORS)
    assert [(one.door, one.kind, one.found) for one in found.tries if one.found] == []
