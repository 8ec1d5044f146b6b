"""Valid records to start from."""

from node.protocol.claims import Accusation, Attestation, Birth, Claim, Head, Leaf, Measurement, Setback
from node.protocol.identity import Identity

ALICE = Identity(bytes(range(32)))
BOB = Identity(bytes(range(1, 33)))
NOW = 1_800_000_000.0
WHEN = {"not_before": int(NOW) - 60, "expiry": int(NOW) + 3600}

CLAIM = Claim(
    peer=ALICE.key,
    sequence=7,
    task=b"t" * 32,
    tier="quick",
    epoch=694,
    space="mlp/1",
    genome=b"g" * 32,
    birth=Birth(parents=(b"p" * 32, b"q" * 32), operator="cross/1", seed=12345),
    kernels="1",
    arithmetic="exact-1",
    backend="torch-cpu",
    objectives={"accuracy": 0.75, "memory": 1024.0},
    correct=270,
    examples=360,
    weights=b"w" * 32,
    weights_bytes=153_664,
    predictions=b"y" * 32,
    checkpoints=b"c" * 32,
    checkpoint_count=20,
    macs=1e9,
    peak_bytes=1 << 20,
    measured=Measurement(samples_per_s=1234.5, peak_bytes=1 << 21, device="a core"),
    **WHEN,
)
ATTESTATION = Attestation(
    peer=BOB.key,
    sequence=1,
    claim=b"i" * 32,
    stage="2a",
    leaves=(Leaf(segment=3, end=b"e" * 32, path=(b"1" * 32, b"2" * 32), receipt=b"r" * 64),),
    objectives={},
    **WHEN,
)
ACCUSATION = Accusation(
    peer=BOB.key,
    sequence=2,
    claim=b"i" * 32,
    stage="2a",
    segment=11,
    claimed=b"x" * 32,
    found=b"y" * 32,
    path=(b"1" * 32, b"2" * 32),
    **WHEN,
)
HEAD = Head(peer=ALICE.key, sequence=9, task=b"t" * 32, claims=(b"i" * 32, b"j" * 32), **WHEN)
SETBACK = Setback(
    peer=BOB.key,
    sequence=3,
    task=b"t" * 32,
    tier="quick",
    genome=b"g" * 32,
    arithmetic="fp32",
    kind="diverged",
    **WHEN,
)
BODIES = (CLAIM, ATTESTATION, ACCUSATION, HEAD, SETBACK)
