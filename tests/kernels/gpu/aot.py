"""Compile every shipped configuration for sm_90 without a device, and count what its machine code has.

python -m tests.kernels.gpu.aot [--write] [--only KERNEL]: prints JSON by configuration; --write keeps it as the budget
of this triton. Each configuration's numbers belong to one compiler.
Runs in a process of its own: compilation and the interpreter cannot share one.
"""

import argparse
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from kernels.backends.triton import Activation

BUDGET = Path(__file__).with_name("budget.json")
# Registers and shared memory may exceed the budget by this share before the gate says so: compilers move them.
SLACK = 0.10
LARGEST_SHARED = 227 * 1024
BATCH, CLASSES = 256, 10
TENSOR = re.compile(r"\b(?:HMMA|HGMMA|WGMMA|IMMA)\b")


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """One compilation: a kernel, the types of its arguments and its constants, `num_warps` among them.

    `types` has one entry for each argument that is no constant: "*fp16:16" is a pointer aligned to 16 bytes, "i32:16" a
    number divisible by 16. `tensor_cores` is False for kernels that have no matrix product in fp16.
    """

    name: str
    module: str
    kernel: str
    types: dict[str, str]
    constants: dict[str, Any]
    tensor_cores: bool = True
    vector_loads: bool = True

    @property
    def kernel_file(self) -> str:
        """The kernel whose configuration this is, as the cases name it."""
        name = self.module.rpartition(".")[2]
        return "spectrum" if name == "orthogonal" else name


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What a compiled configuration has: the numbers of a budget.

    `wide` counts products in 64 bits, those that lead to a network's own part of an array; `nan` the minima and maxima
    that keep NaN.
    """

    spills: int
    registers: int
    shared: int
    tensor: int
    vector_loads: int
    barriers: int
    wide: int
    nan: int


def _typed(names: Mapping[str, str]) -> dict[str, str]:
    return {name: kind for group, kind in names.items() for name in group.split()}


def _layer(
    name: str, precision: str, activation: "Activation", *, below: bool, above: bool, **constants: Any
) -> Configuration:
    from kernels.backends.triton import layer

    exact = precision == "fp32"
    width = CLASSES if activation in ("output", "pull") else 512
    return Configuration(
        name=f"settle_layer-{name}-{precision}",
        module="kernels.backends.triton.layer",
        kernel="_kernel",
        types=_typed(
            {
                "out below w_below above w_above previous": f"*{precision}:16",
                "base target beta partial": "*fp32:16",
                "B N K_BELOW K_ABOVE": "i32:16",
                "out_p out_b base_p base_b below_p below_b wb_p wb_k above_p above_b wa_p wa_n": "i32:16",
                "prev_p prev_b target_p target_b": "i32:16",
                "clip step_size": "fp32",
            }
        ),
        constants={
            "ACTIVATION": layer.CODES[activation], "HAS_BELOW": below, "HAS_ABOVE": above, "NUDGED": False,
            "SYNCHRONOUS": False, "MEASURED": False, "EXACT": exact,
            **layer.blocks(BATCH, width, exact=exact, readout=activation == "pull"), **constants,
        },
        tensor_cores=not exact,
    )  # fmt: skip


def _one_hidden(hidden: int, precision: str, *, readout: bool, backward: bool) -> Configuration:
    from kernels.backends.triton.one_hidden import blocks

    exact = precision == "fp32"
    return Configuration(
        name=f"settle_persistent_1h-{hidden}-{'ce' if readout else 'mse'}-{precision}",
        module="kernels.backends.triton.one_hidden",
        kernel="_kernel",
        types=_typed(
            {
                "hidden output start_hidden start_output w2s": f"*{precision}:16",
                "drives biases targets betas partial": "*fp32:16",
                "B H hid_p hid_b out_p out_b sh_p sh_b so_p so_b drive_p drive_b w_p w_k bias_p y_p y_b": "i32:16",
                "C steps": "i32",
                "clip": "fp32",
            }
        ),
        constants={
            "READOUT": readout, "BACKWARD": backward, "EXACT": exact,
            **blocks(BATCH, hidden, CLASSES, exact=exact),
        },
        tensor_cores=not exact,
    )  # fmt: skip


def _ragged(precision: str) -> Configuration:
    from kernels.backends.triton.ragged import blocks

    exact = precision == "fp32"
    return Configuration(
        name=f"settle_persistent_ragged-{precision}",
        module="kernels.backends.triton.ragged",
        kernel="_kernel",
        types=_typed(
            {
                "table order": "*i32:16",
                "betas drives biases targets partial": "*fp32:16",
                "weights states": f"*{precision}:16",
                "B": "i32:16",
                # What the launch does not know to be divisible must not be needed for vector loads.
                "each C y_p y_b": "i32",
                "clip": "fp32",
            }
        ),
        constants={"EXACT": exact, **blocks(BATCH, exact=exact)},
        tensor_cores=not exact,
    )


def _training(precision: str) -> Configuration:
    from kernels.backends.triton.training import blocks

    exact = precision == "fp32"
    return Configuration(
        name=f"train_persistent-{precision}",
        module="kernels.backends.triton.training",
        kernel="_kernel",
        types=_typed(
            {
                "table order lengths rows failures": "*i32:16",
                "numbers samples schedule parameters first second drives residuals": "*fp32:16",
                "classes": "*i64:16",
                "states": f"*{precision}:16",
                "N0": "i32:16",
                # What the launch does not know to be divisible must not be needed for vector loads.
                "T S C": "i32",
            }
        ),
        constants={"EXACT": exact, **blocks(exact=exact)},
        tensor_cores=not exact,
    )


def _hebbian(name: str, precision: str, optimizer: int, *, clamped: bool) -> Configuration:
    from kernels.backends.triton.hebbian import blocks

    exact = precision == "fp32"
    return Configuration(
        name=f"hebbian_update-{name}-{precision}",
        module="kernels.backends.triton.hebbian",
        kernel="_weights",
        types=_typed(
            {
                "values first second units rates momenta decays": "*fp32:16",
                "shadows pre pre_other post post_other": f"*{precision}:16",
                "B K N pre_p pre_b po_p po_b post_p post_b qo_p qo_b": "i32:16",
                "gain floor": "fp32",
            }
        ),
        constants={
            "CLAMPED": clamped, "OPTIMIZER": optimizer, "SHADOW": not exact, "DECAY": False, "EXACT": exact,
            **blocks(256, 512, exact=exact),
        },
        tensor_cores=not exact,
    )  # fmt: skip


def configurations() -> Iterator[Configuration]:
    """The configurations that are shipped, 784-256-10 and its kin in whole tiles."""
    from kernels.backends.triton import orthogonal, spectrum

    yield _layer("middle", "fp16", "clip", below=True, above=True)
    yield _layer("first", "fp16", "clip", below=False, above=True)
    yield _layer("synchronous", "fp16", "clip", below=True, above=True, SYNCHRONOUS=True, MEASURED=True)
    yield _layer("output", "fp16", "output", below=True, above=False, NUDGED=True)
    yield _layer("pull", "fp16", "pull", below=True, above=False, NUDGED=True)
    yield _layer("middle", "fp32", "clip", below=True, above=True)
    for hidden in (64, 128, 256, 512):
        yield _one_hidden(hidden, "fp16", readout=False, backward=True)
        yield _one_hidden(hidden, "fp16", readout=True, backward=True)
        yield _one_hidden(hidden, "fp32", readout=False, backward=True)
    yield _ragged("fp16")
    yield _ragged("fp32")
    yield _training("fp16")
    yield _training("fp32")
    yield _hebbian("sgd", "fp16", 1, clamped=False)
    yield _hebbian("adam", "fp16", 2, clamped=False)
    yield _hebbian("adam-input", "fp16", 2, clamped=True)
    yield _hebbian("gradient", "fp16", 0, clamped=False)
    yield _hebbian("adam", "fp32", 2, clamped=False)
    yield Configuration(
        name="power_iter-512",
        module="kernels.backends.triton.spectrum",
        kernel="_kernel",
        types=_typed(
            {
                "weights vectors values": "*fp32:16",
                "R C weight_p weight_r vector_p": "i32:16",
                "iterations": "i32",
            }
        ),
        constants=spectrum.blocks(512),
        tensor_cores=False,
    )
    for exact in (False, True):
        yield Configuration(
            name=f"newton_schulz_small-64x128-{'fp32' if exact else 'fp16'}",
            module="kernels.backends.triton.orthogonal",
            kernel="_kernel",
            types=_typed(
                {
                    "matrices out": "*fp32:16",
                    "S L matrix_p matrix_s out_p out_s": "i32:16",
                    "steps": "i32",
                }
            ),
            constants={"EXACT": exact, "matrix_l": 1, "out_l": 1, **orthogonal.blocks(64, 128, exact=exact)},
            tensor_cores=not exact,
        )


def compiled(configuration: Configuration) -> Count:
    """Compile for sm_90 and count."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(import_module(configuration.module), configuration.kernel)
    signature, constants, attributes = {}, {}, {}
    for index, name in enumerate(kernel.arg_names):
        if name in configuration.constants:
            signature[name] = "constexpr"
            constants[(index,)] = configuration.constants[name]
            continue
        kind, _, divisor = configuration.types[name].partition(":")
        signature[name] = kind
        if divisor:
            attributes[(index,)] = [["tt.divisibility", int(divisor)]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    done = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": configuration.constants["num_warps"]}
    )
    code, resources = _disassembled(done.asm["cubin"])
    registers = re.search(r"REG:(\d+)", resources)
    assert registers, resources
    return Count(
        # Local memory: what did not fit the registers.
        spills=len(re.findall(r"\b(?:STL|LDL)\b", code)),
        registers=int(registers[1]),
        shared=int(done.metadata.shared),
        tensor=len(TENSOR.findall(code)),
        vector_loads=len(re.findall(r"\b(?:LDG|LDGSTS)(?:\.\w+)*\.128\b", code)),
        barriers=len(re.findall(r"\b(?:gpu|ttg)\.barrier\b", done.asm["ttgir"])),
        wide=len(re.findall(r"arith\.muli .*(?:: i64|xi64>)", done.asm["ttir"])),
        nan=len(re.findall(r"\b(?:min|max)\.NaN\.f32\b", done.asm["ptx"])),
    )


def _disassembled(cubin: bytes) -> tuple[str, str]:
    """The machine code as text, and what it needs; both tools come in triton's wheel."""
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        texts = [
            subprocess.run(
                [str(tools / tool), *options, str(path)],
                capture_output=True,
                text=True,
                check=True,
                timeout=240,
            ).stdout
            for tool, options in (("nvdisasm", ["-c"]), ("cuobjdump", ["-res-usage"]))
        ]
    return texts[0], texts[1]


def read_budgets() -> dict[str, dict[str, Count]]:
    """The committed budgets by triton's minor version: each brings its own compiler."""
    return msgspec.json.decode(BUDGET.read_bytes(), type=dict[str, dict[str, Count]])


def version() -> str:
    """Triton's minor version, such as 3.7."""
    return ".".join(importlib.metadata.version("triton").split(".")[:2])


def read_budget() -> dict[str, Count]:
    """The budget of the triton that is installed. Raises KeyError where there is none for it."""
    return read_budgets()[version()]


def complaints(configuration: Configuration, count: Count, budget: Count) -> list[str]:
    """What is wrong with a compiled configuration, in words."""
    found = []
    if count.spills:
        found.append(f"{count.spills} accesses to spilled registers, expected none")
    for field in ("registers", "shared"):
        measured, allowed = getattr(count, field), int(getattr(budget, field) * (1 + SLACK))
        if measured > allowed:
            found.append(f"{measured} {field}, expected at most {allowed}")
    if count.shared > LARGEST_SHARED:
        found.append(f"{count.shared} bytes of shared memory, a multiprocessor has {LARGEST_SHARED}")
    if configuration.tensor_cores and not count.tensor:
        found.append("no tensor operation")
    # A share, for compilers unroll as they like; a pointer whose alignment is lost takes most of them away.
    if configuration.vector_loads and 2 * count.vector_loads < max(1, budget.vector_loads):
        found.append(f"{count.vector_loads} loads of 128 bits, expected {budget.vector_loads}")
    if budget.nan and not count.nan:
        found.append("a clip that hides NaN")
    for field, what in (("barriers", "barriers"), ("wide", "products in 64 bits")):
        if getattr(count, field) != getattr(budget, field):
            found.append(f"{getattr(count, field)} {what}, expected {getattr(budget, field)}")
    return found


def main() -> None:
    """Compile and print, or write the budget of this triton."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", help="the file of one kernel")
    options = parser.parse_args()
    chosen = [each for each in configurations() if options.only in ("", each.kernel_file)]
    counts = {each.name: compiled(each) for each in chosen}
    if options.write:
        budgets = read_budgets() if BUDGET.exists() else {}
        # One kernel's numbers take their place among the others'.
        kept = budgets.get(version(), {}) if options.only else {}
        budgets[version()] = kept | counts
        BUDGET.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(budgets.items())))) + b"\n")
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(counts)) + b"\n")


if __name__ == "__main__":
    main()
