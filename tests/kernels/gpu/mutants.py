"""Break the kernels on purpose, one way at a time, and see that a gate says so.

python -m tests.kernels.gpu.mutants [NAME ...]: prints a line for each mutant; exits 1 if one survives. Every mutant is
a change of one place in a copy of the packages; the kernel's gate then runs over that copy.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

import msgspec

from tests.kernels.gpu import aot
from tests.kernels.gpu.gates import KERNELS, ROOT, child

FOLDER = Path("kernels/backends/triton")


class Mutant(msgspec.Struct, frozen=True):
    """In `kernel`'s module, `old`, which stands there once, becomes `new`; `gate` must notice."""

    name: str
    kernel: str
    old: str
    new: str
    gate: Literal["interp", "aot"] = "interp"
    module: str = ""

    @property
    def path(self) -> Path:
        """The file that is changed."""
        return FOLDER / f"{self.module or self.kernel}.py"


MUTANTS = (
    Mutant("nudge sign, layer", "layer", "received + beta * y", "received - beta * y", module="activations"),
    Mutant(
        "nudge sign, one hidden",
        "one_hidden",
        "received + beta * y",
        "received - beta * y",
        module="activations",
    ),
    Mutant(
        "nudge sign, ragged", "ragged", "received + beta * y", "received - beta * y", module="activations"
    ),
    Mutant("nudge sign, readout", "layer", "beta * (y - raised", "-beta * (y - raised", module="activations"),
    Mutant("nudge not divided", "layer", " / (1.0 + beta)\n", "\n", module="activations"),
    Mutant("dropped K tail, layer", "layer", "range(0, K, BK)", "range(0, K - BK + 1, BK)"),
    Mutant("dropped K tail, ragged", "ragged", "range(0, k_above, BK)", "range(0, k_above - BK + 1, BK)"),
    Mutant(
        "dropped batch tail, weights",
        "hebbian",
        "acc = tl.zeros([BM, BN], tl.float32)\n    for start in range(0, B, BK)",
        "acc = tl.zeros([BM, BN], tl.float32)\n    for start in range(0, B - BK + 1, BK)",
    ),
    Mutant("dropped row tail, power", "spectrum", "range(0, R, BR)", "range(0, R - BR + 1, BR)"),
    Mutant("leak", "layer", "acc = before + step_size * force", "acc = before + force"),
    Mutant("no clip", "layer", "acc = clipped(acc, clip)", "acc = acc"),
    Mutant(
        "clip hides NaN",
        "layer",
        ", propagate_nan=tl.PropagateNan.ALL",
        "",
        "aot",
        module="activations",
    ),
    Mutant(
        "NaN has no change", "layer", 'moved, float("inf")), 0.0)', "moved, 0.0), 0.0)", module="activations"
    ),
    Mutant(
        "Hebbian sign",
        "hebbian",
        "(t_other.to(tl.float32) - t).to(s.dtype)",
        "(t - t_other.to(tl.float32)).to(s.dtype)",
    ),
    Mutant(
        "Hebbian sign, bias",
        "hebbian",
        "acc += t_other.to(tl.float32) - t.to(tl.float32)",
        "acc += t.to(tl.float32) - t_other.to(tl.float32)",
    ),
    Mutant(
        "half a contrast",
        "hebbian",
        "tl.dot(tl.trans(moved), mean_above",
        "tl.dot(tl.trans(moved * 0), mean_above",
    ),
    Mutant("Adam bias correction, first", "hebbian", "spread / (1.0 - BETA1**optimizer.time)", "spread"),
    Mutant(
        "Adam bias correction, second",
        "hebbian",
        "spread = math.sqrt(1.0 - BETA2**optimizer.time)",
        "spread = 1.0",
    ),
    Mutant(
        "one rate for all",
        "hebbian",
        "    acc = tl.zeros([BK, BN], tl.float32)",
        "    acc = tl.zeros([BK, BN], tl.float32)\n    rates -= genome",
    ),
    Mutant("decay forgotten", "hebbian", "DECAY=decay is not None, EXACT=exact", "DECAY=False, EXACT=exact"),
    Mutant(
        "stale shadow", "hebbian", "tl.store(shadows + where, new.to", "tl.store(shadows + where, gradient.to"
    ),
    Mutant("wrong offset, network", "layer", "w_below + genome * wb_p", "w_below + 0 * genome * wb_p"),
    Mutant("wrong offset, row stride", "layer", "rows[:, None] * prev_b", "rows[:, None] * out_b"),
    Mutant("wrong offset, drive", "one_hidden", "drives + genome * drive_p", "drives + genome * hid_p"),
    Mutant(
        "wrong offset, descriptor",
        "ragged",
        "weights + _offset(row, layer + 1, 1)",
        "weights + _offset(row, layer, 1)",
    ),
    Mutant(
        "wrong offset, table",
        "ragged",
        "row[:5] = torch.tensor([*head, drive // UNIT]",
        "row[:5] = torch.tensor([*head, 0 * drive]",
        module="ragged_layout",
    ),
    Mutant(
        "missing mask",
        "layer",
        "rows[:, None] * out_b + cols[None, :], new, mask=mask)",
        "rows[:, None] * out_b + cols[None, :], new, mask=live[:, None])",
    ),
    Mutant("offsets in 32 bits, layer", "layer", "(pid // each).to(tl.int64)", "(pid // each)", "aot"),
    Mutant("offsets in 32 bits, ragged", "ragged", "FIELD).to(tl.int64)", "FIELD)", "aot"),
    Mutant("missing barrier", "ragged", "            tl.debug_barrier()\n", "", "aot"),
    Mutant("spills", "ragged", '"num_warps": 8', '"num_warps": 4', "aot"),
    Mutant(
        "no units of 16",
        "ragged",
        "return tl.load(row + _HEAD + _FIELDS * layer) * _UNIT",
        "return tl.load(row + _HEAD + _FIELDS * layer) * _UNIT // 3 * 3",
        "aot",
    ),
    Mutant(
        "no tensor cores",
        "layer",
        'acc = tl.dot(s, w, acc, input_precision="ieee" if EXACT else "tf32")',
        'acc = tl.dot(s.to(tl.float32), w.to(tl.float32), acc, input_precision="ieee")',
        "aot",
    ),
    Mutant("order of a sweep", "one_hidden", "if BACKWARD or READOUT:", "if BACKWARD:"),
    Mutant(
        "readout read late",
        "ragged",
        "forward = tl.where(readout, swapped, forward)",
        "forward = forward + 0 * swapped",
        module="visits",
    ),
    Mutant("steps off by one", "one_hidden", "range(steps - 1)", "range(steps)"),
    Mutant("change of another sweep", "ragged", "last = step == steps - 1", "last = step == 0"),
    Mutant(
        "half a contrast, training",
        "training",
        "tl.dot(tl.trans(moved), mean_above",
        "tl.dot(tl.trans(moved * 0), mean_above",
    ),
    Mutant("sign of the contrast, training", "training", "apart = (b - a).to", "apart = (a - b).to"),
    Mutant(
        "sign of a step forgotten",
        "training",
        "tl.where(contrasted, away * sign, 1.0)",
        "tl.where(contrasted, away, 1.0)",
    ),
    Mutant(
        "nudge not turned by a sign",
        "training",
        "tl.where(tl.load(phase + 7) != 0, sign, 1.0)",
        "tl.where(tl.load(phase + 7) != 0, 1.0, 1.0)",
    ),
    Mutant(
        "absent samples learned from",
        "training",
        "mask=rows < batch, other=-1) >= 0\n            here",
        "mask=rows < batch, other=-1) >= -1\n            here",
    ),
    Mutant(
        "dropped batch tail, training",
        "training",
        "for start in range(0, moving, BK)",
        "for start in range(0, moving - BK + 1, BK)",
    ),
    Mutant(
        "dropped tile of samples, training",
        "training",
        "for tile in range(0, batch, BM)",
        "for tile in range(0, tl.minimum(batch, BM), BM)",
    ),
    Mutant("nudged from anywhere", "training", "tl.where(which != 0, copy, 0), BM * BN)", "0, BM * BN)"),
    Mutant(
        "free state as the other nudge", "training", "other = tl.load(row + 5) * copy", "other = 0 * copy"
    ),
    Mutant(
        "drive kept from step to step",
        "training",
        "driven = (layer == 1) & (feeding == 0)",
        "driven = layer == 1",
    ),
    Mutant(
        "start that looks ahead", "training", "(layer < top) & (feeding == 0), _width", "layer < top, _width"
    ),
    Mutant(
        "sign of the mistake",
        "training",
        "FREE, 0, 0], -1.0)",
        "FREE, 0, 0], 1.0)",
        module="training_layout",
    ),
    Mutant(
        "mean over a whole batch",
        "training",
        "1.0 / (span.rows >= 0).sum(axis=1)",
        "1.0 / span.rows.shape[1]",
        module="training_plan",
    ),
    Mutant(
        "steps before forgotten",
        "training",
        "times = before + np.arange",
        "times = np.arange",
        module="training_plan",
    ),
    Mutant("momentum forgotten, training", "training", "m = kept * tl.load", "m = 0.0 * tl.load"),
    Mutant("second moment unkept, training", "training", "v = _BETA2 * tl.load", "v = 1.0 * tl.load"),
    Mutant(
        "decay forgotten, training",
        "training",
        "keep * tl.load(parameters + where",
        "1.0 * tl.load(parameters + where",
    ),
    Mutant(
        "failure of the last step", "training", "tl.where((failed == 0) & (astray > 0)", "tl.where(astray > 0"
    ),
    Mutant("NaN gone unnoticed", "training", "(finite == 0), 1, 0)", '(shift == float("inf")), 1, 0)'),
    Mutant("residual of the wrong phase", "training", "counted = (number == 1)", "counted = (number == 2)"),
    Mutant(
        "padding of the input",
        "training",
        "mask=live[:, None] & (cols < N0)[None, :], other=0.0",
        "mask=live[:, None] & (cols < N0)[None, :], other=1.0",
    ),
    Mutant("wrong offset, slots", "training", "tl.store(first + where, m", "tl.store(first + where + 16, m"),
    Mutant("offsets in 32 bits, training", "training", "FIELD).to(tl.int64)", "FIELD)", "aot"),
    Mutant(
        "rows in 32 bits, training",
        "training",
        "sample.to(tl.int64)[:, None] * N0",
        "sample[:, None] * N0",
        "aot",
    ),
    Mutant(
        "missing barrier between layers, training",
        "training",
        "                    tl.debug_barrier()\n",
        "",
        "aot",
    ),
    Mutant(
        "missing barrier between steps",
        "training",
        "        # The next step reads what other threads have just learned.\n        tl.debug_barrier()\n",
        "",
        "aot",
    ),
    Mutant(
        "missing barrier after the samples",
        "training",
        "batch, N0, BM, BN)\n        tl.debug_barrier()\n",
        "batch, N0, BM, BN)\n",
        "aot",
    ),
    Mutant(
        "missing barrier before a nudge",
        "training",
        "copy, 0), BM * BN)\n            tl.debug_barrier()\n",
        "copy, 0), BM * BN)\n",
        "aot",
    ),
    Mutant("spills, training", "training", '"num_warps": 8', '"num_warps": 4', "aot"),
    Mutant(
        "coefficients swapped",
        "spectrum",
        "gram = _B * gram + _C *",
        "gram = _C * gram + _B *",
        module="orthogonal",
    ),
    Mutant(
        "square of a small gradient",
        "spectrum",
        "    x = x / tl.maximum(largest, _TINY)\n",
        "",
        module="orthogonal",
    ),
)


def copied(root: Path) -> None:
    """Fill `root` with what the gates run."""
    shutil.copy(ROOT / "eqmesh.py", root)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "kernels", root / "kernels", ignore=ignored)
    (root / "tests" / "kernels").mkdir(parents=True)
    for package in ("tests", "tests/kernels"):
        shutil.copy(ROOT / package / "__init__.py", root / package)
    shutil.copy(ROOT / "tests/kernels/networks.py", root / "tests/kernels")
    shutil.copytree(ROOT / "tests/kernels/gpu", root / "tests/kernels/gpu", ignore=ignored)


def noticed(gate: str, kernel: str, root: Path) -> str | None:
    """What a gate says of a kernel in the copy under `root`; None where it finds nothing."""
    if gate == "interp":
        done = child(["tests.kernels.gpu.cases", kernel], root=root, interpret=True)
        if done.returncode == 0:
            return None
        if not done.stdout:
            raise RuntimeError(f"the cases of {kernel} did not start, which says nothing: {done.stderr}")
        # The case that failed is the last that was named.
        case = done.stdout.splitlines()[-1]
        return f"{case}: {done.stderr.splitlines()[-1] if done.stderr else f'exit {done.returncode}'}"
    done = child(
        ["tests.kernels.gpu.aot", "--only", kernel], root=root, interpret=False, cache=root / "cache"
    )
    if done.returncode != 0:
        return f"does not compile: {done.stderr.splitlines()[-1]}"
    counts = msgspec.json.decode(done.stdout, type=dict[str, aot.Count])
    budget = aot.read_budget()
    for each in aot.configurations():
        if each.kernel_file == kernel and (
            said := aot.complaints(each, counts[each.name], budget[each.name])
        ):
            return f"{each.name}: {'; '.join(said)}"
    return None


def mutated(source: str, mutant: Mutant) -> str:
    """`source` with the mutant's change. Raises ValueError unless `old` stands in it exactly once."""
    if source.count(mutant.old) != 1:
        raise ValueError(
            f"mutant {mutant.name!r}: expected its text once in {mutant.path}, found it {source.count(mutant.old)} "
            "times. Write it after the kernel as it is now."
        )
    return source.replace(mutant.old, mutant.new)


def survivors(names: list[str]) -> list[str]:
    """Try the mutants named, or all; print what each gate said; return those that nothing noticed."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copied(root)
        for mutant in chosen:
            original = (ROOT / mutant.path).read_text()
            (root / mutant.path).write_text(mutated(original, mutant))
            said = noticed(mutant.gate, mutant.kernel, root)
            (root / mutant.path).write_text(original)
            sys.stdout.write(f"{mutant.name} [{mutant.gate}]: {said or 'SURVIVED'}\n")
            sys.stdout.flush()
            found += [] if said else [mutant.name]
    return found


def main() -> None:
    """Try the mutants; exit 1 if one survives."""
    unknown = set(sys.argv[1:]) - {mutant.name for mutant in MUTANTS}
    if unknown:
        raise SystemExit(f"no such mutant: {', '.join(sorted(unknown))}")
    if survived := survivors(sys.argv[1:]):
        raise SystemExit(f"{len(survived)} survived: {', '.join(survived)}")


if __name__ == "__main__":
    assert {mutant.kernel for mutant in MUTANTS} == set(KERNELS), "every kernel has a mutant"
    main()
