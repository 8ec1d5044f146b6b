"""Real sockets on loopback. libp2p is an extra: where it is missing every module here skips, and says so."""

import pytest

pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'eqmesh[mesh]'")
