"""How peers reach each other: a protocol, a network in memory, and libp2p."""
