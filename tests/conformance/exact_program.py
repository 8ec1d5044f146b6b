"""Trains small networks in exact-1 and prints the hash of each: `python -m tests.conformance.exact_program`."""

import hashlib
import json
import sys

import numpy as np

from kernels import EqpropLearner, OptimizerSettings, PopulationLearner, Topology, initial_parameters
from tests.conformance import cases


def digest(values: dict[str, np.ndarray]) -> str:
    """The SHA-256 of all parameters: name, then float64 little-endian."""
    whole = hashlib.sha256()
    for name in sorted(values):
        whole.update(name.encode())
        whole.update(np.ascontiguousarray(values[name], dtype="<f8").tobytes())
    return whole.hexdigest()


def hashes() -> dict[str, str]:
    """Every optimizer, output, scheme and estimate once."""
    found = {}
    skips = ((0, 2), (1, 3))
    for output, optimizer, estimate, scheme in (
        ("ce", OptimizerSettings("adam", rate=4e-3), "centred", "block"),
        ("mse", OptimizerSettings("sgd", rate=0.1, momentum=0.9), "one-sided", "block"),
        ("ce", OptimizerSettings("adamw", rate=4e-3, weight_decay=0.1), "linearised", "synchronous"),
        ("mse", OptimizerSettings("adam", rate=4e-3), "random-sign", "synchronous"),
    ):
        shape = Topology((37, 64, 48, 10), output=output, skips=skips)  # type: ignore[arg-type]
        how = cases.rule(estimate, beta=0.3, scheme=scheme, steps=(3, 2), step_size=0.75)
        values = initial_parameters(shape, seed=bytes(32), gain=0.75)
        network = EqpropLearner(shape, values, how, optimizer, batch=32, arithmetic="exact-1")
        for step in range(12):
            x, y = cases.batch(shape, 32 if step % 4 else 19, str(step))
            network.step(x, y, scale=1.0 - step / 16, sign=(-1) ** step)
        found[f"{output} {optimizer.name} {estimate} {scheme}"] = digest(network.parameters())
    # Wide enough for a library to share a product out among threads.
    shape = Topology((128, 256, 10))
    values, how = (
        initial_parameters(shape, seed=bytes(range(32)), gain=1.0),
        cases.rule(beta=1.0, steps=(0, 1)),
    )
    wide = EqpropLearner(shape, values, how, OptimizerSettings(rate=4e-3), batch=256, arithmetic="exact-1")
    for step in range(4):
        x, y = cases.batch(shape, 256, str(step))
        x[:, : 20 * step] = 0.0
        wide.step(x, y, scale=1.0)
    found["wide"] = digest(wide.parameters())
    shape = Topology((16, 12, 10))
    groups = []
    for order in ([0, 1, 2], [2, 0]):
        group = PopulationLearner(
            shape,
            [initial_parameters(shape, seed=bytes([i]) * 32, gain=1.0) for i in order],
            [cases.rule(beta=0.5 + i / 4) for i in order],
            [OptimizerSettings(rate=1e-3 * (i + 1)) for i in order],
            batch=8,
            arithmetic="exact-1",
        )
        x, y = (np.stack(part) for part in zip(*(cases.batch(shape, 8, "g" * i) for i in order), strict=True))
        for _ in range(10):
            group.step(x, y, scale=1.0)
        groups.append([digest(values) for values in group.parameters()])
    found["population"] = groups[0][0]
    found["population, last"] = groups[0][2]
    found["in another population"], found["in another slot"] = groups[1][1], groups[1][0]
    return found


if __name__ == "__main__":
    json.dump(hashes(), sys.stdout, indent=2)
    sys.stdout.write("\n")
