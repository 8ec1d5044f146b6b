"""Break populations of the Triton kernels on purpose, one way at a time, and see that a case says so; see `mutants`.

python -m tests.kernels.gpu.mutants_population [NAME ...]: prints a line for each mutant; exits 1 if one survives.
"""

import sys
import tempfile
from pathlib import Path

from tests.kernels.gpu.gates import ROOT, child
from tests.kernels.gpu.mutants import Mutant, copied, mutated

FOLLOWS, ALONE, DIVERGES = "follows-ragged", "itself-ragged", "diverging-ragged"

# What a mutant calls its kernel is the case that must notice it.
MUTANTS = (
    Mutant("dropped K tail, drive", FOLLOWS, "range(0, X, BK)", "range(0, X - BK + 1, BK)", module="forward"),
    Mutant(
        "absent samples settle too",
        FOLLOWS,
        "tl.where(index < 0, tl.load(rows + member * B), index)",
        "tl.where(index < 0, 0, index)",
        module="forward",
    ),
    Mutant(
        "drive unclipped",
        FOLLOWS,
        "clipped(acc, clip).to(states.dtype.element_ty), mask=mask)",
        "acc.to(states.dtype.element_ty), mask=mask)",
        module="forward",
    ),
    Mutant(
        "output clipped",
        FOLLOWS,
        "tl.where(output, acc, clipped(acc, clip))",
        "clipped(acc, clip)",
        module="forward",
    ),
    Mutant("readout sign", FOLLOWS, "-pull(acc, y, 1.0, real)", "pull(acc, y, 1.0, real)", module="forward"),
    Mutant(
        "scores of an output that is a state",
        FOLLOWS,
        "tl.where(readout, acc, state)",
        "acc",
        module="forward",
    ),
    Mutant(
        "contrast sign, input",
        FOLLOWS,
        "difference = tl.load(other + here, mask=mask, other=0.0).to(tl.float32) - t",
        "difference = t - tl.load(other + here, mask=mask, other=0.0).to(tl.float32)",
        module="update",
    ),
    Mutant("mean not halved", FOLLOWS, "mean = (0.5 * (s.to", "mean = (1.0 * (s.to", module="update"),
    Mutant(
        "one product of two",
        FOLLOWS,
        "acc = tl.dot(tl.trans(across), above, acc,",
        "tl.dot(tl.trans(across), above, acc,",
        module="update",
    ),
    Mutant(
        "readout by the unit of the energy",
        FOLLOWS,
        "unit = tl.load(numbers + _AT_UNIT_READOUT * P)",
        "unit = tl.load(numbers + _AT_UNIT * P)",
        module="update",
    ),
    Mutant(
        "biases step with every tile",
        FOLLOWS,
        "alone = stepped & (source_tile == 0)",
        "alone = stepped & (source_tile >= 0)",
        module="update",
    ),
    Mutant("all steps count", FOLLOWS, "stepped = present > 0", "stepped = present >= 0", module="update"),
    Mutant("no momentum", FOLLOWS, "* kept + gradient", "* 0.0 + gradient", module="update"),
    Mutant(
        "no decay", FOLLOWS, "new = tl.load(numbers + _AT_KEEP * P) * value", "new = value", module="update"
    ),
    Mutant(
        "no correction of Adam",
        FOLLOWS,
        "rate * tl.load(numbers + _AT_GAIN * P) * step",
        "rate * step",
        module="update",
    ),
    Mutant(
        "absent samples learn",
        FOLLOWS,
        "samples = (span.rows >= 0).sum(axis=1)",
        "samples = np.full(steps, span.rows.shape[1])",
        module="step_numbers",
    ),
    Mutant(
        "sign of a single nudge",
        FOLLOWS,
        "numbers[:, Number.UNIT] = turned /",
        "numbers[:, Number.UNIT] = 1 /",
        module="step_numbers",
    ),
    Mutant(
        "time starts afresh", FOLLOWS, "time = before + np.arange", "time = np.arange", module="step_numbers"
    ),
    Mutant(
        "divergence unseen",
        DIVERGES,
        "mask=alone & strayed)",
        "mask=alone & strayed & (present < 0))",
        module="update",
    ),
    Mutant(
        "divergence a step late",
        DIVERGES,
        "tl.load(clock).to(tl.int32) + 1",
        "tl.load(clock).to(tl.int32) + 2",
        module="update",
    ),
    Mutant(
        "another's samples",
        ALONE,
        "rows + member * B + samples, mask=live, other=-1",
        "rows + samples, mask=live, other=-1",
        module="forward",
    ),
    Mutant(
        "shadow not stored",
        "fp16-ragged",
        "if SHADOW:\n        tl.store",
        "if False:\n        tl.store",
        module="update",
    ),
    Mutant("old data", "held-again", "self.x.copy_(", "self.x.clone().copy_(", module="group"),
    Mutant("padding kept", "diverges-ragged", "        self._clear_padding()\n", "", module="group"),
)


def noticed(mutant: Mutant, root: Path) -> str | None:
    """What its case says of a mutant in the copy under `root`; None where it finds nothing."""
    done = child(["tests.kernels.gpu.population_cases", mutant.kernel], root=root, interpret=True)
    if done.returncode == 0:
        return None
    said = done.stderr.splitlines()[-1]
    if not said.startswith(("AssertionError", "kernels.errors.")):
        raise RuntimeError(f"the case {mutant.kernel} broke off, which says nothing: {done.stderr}")
    return said


def survivors(names: list[str]) -> list[str]:
    """Try the mutants named, or all; print what each case said; return those that nothing noticed."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copied(root)
        for mutant in (each for each in MUTANTS if not names or each.name in names):
            original = (ROOT / mutant.path).read_text()
            (root / mutant.path).write_text(mutated(original, mutant))
            said = noticed(mutant, root)
            (root / mutant.path).write_text(original)
            sys.stdout.write(f"{mutant.name}: {said or 'SURVIVED'}\n")
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
    main()
