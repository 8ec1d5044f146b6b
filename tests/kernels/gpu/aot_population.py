"""Compile for sm_90, without a device, what populations of the Triton kernels launch; see `aot`.

python -m tests.kernels.gpu.aot_population [--write]
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.kernels.gpu.aot import BATCH, Configuration, Count, compiled, version

BUDGET = Path(__file__).with_name("budget_population.json")


def _typed(names: dict[str, str]) -> dict[str, str]:
    return {name: kind for group, kind in names.items() for name in group.split()}


def configurations() -> Iterator[Configuration]:
    """The configurations that are shipped: one for each kernel and precision, whatever the networks."""
    from kernels.backends.triton import forward, update

    for precision in ("fp16", "fp32"):
        exact = precision == "fp32"
        tile = {"EXACT": exact, **forward.blocks(BATCH, exact=exact)}
        narrow = f"*{precision}:16"
        wide = {"values": "*fp32:16", "each": "i32", "B": "i32:16"}
        for kernel, types, constants in (
            (
                "_drive",
                {
                    "tiles layers rows": "*i32:16",
                    "x operand states": narrow,
                    "drives": "*fp32:16",
                    "X": "i32:16",
                    "clip": "fp32",
                },
                {},
            ),
            ("_forward", {"order layers": "*i32:16", "operand states": narrow, "clip": "fp32"}, {}),
            (
                "_read",
                {
                    "order layers lasts": "*i32:16",
                    "operand states": narrow,
                    "targets out": "*fp32:16",
                    "C": "i32",
                },
                {"SCORES": False},
            ),
        ):
            yield Configuration(
                name=f"population{kernel}-{precision}",
                module="kernels.backends.triton.forward",
                kernel=kernel,
                types=_typed(types | wide),
                constants=constants | tile,
                tensor_cores=not exact,
            )
        yield Configuration(
            name=f"population_update-{precision}",
            module="kernels.backends.triton.update",
            kernel="_update",
            types=_typed(
                {
                    "tiles layers rows failed": "*i32:16",
                    "clock": "*i64:16",
                    "x free moved other shadows": narrow,
                    "numbers mistakes values first second": "*fp32:16",
                    "P": "i32",
                    "B X": "i32:16",
                }
            ),
            constants={"SHADOW": not exact, "EXACT": exact, **update.blocks(exact=exact)},
            tensor_cores=not exact,
        )


def read_budgets() -> dict[str, dict[str, Count]]:
    """The committed budgets by triton's minor version."""
    return msgspec.json.decode(BUDGET.read_bytes(), type=dict[str, dict[str, Count]])


def main() -> None:
    """Compile and print, or write the budget of this triton."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    counts = {each.name: compiled(each) for each in configurations()}
    if options.write:
        budgets = read_budgets() if BUDGET.exists() else {}
        budgets[version()] = counts
        BUDGET.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(budgets.items())))) + b"\n")
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(counts)) + b"\n")


if __name__ == "__main__":
    main()
