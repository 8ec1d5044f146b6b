"""How a phase of networks with two hidden layers is laid out on a multiprocessor, and the source of its kernel. Pure.

A block settles a tile of samples of one network. Its shared memory holds drive, states, biases and a scratch for
products, then as many rows of W_3 and of W_2 as fit; two buffers take the other rows in turn.
"""

from dataclasses import dataclass
from pathlib import Path

from kernels.errors import KernelError

__all__ = [
    "LARGEST_CLASSES",
    "LARGEST_HIDDEN",
    "LARGEST_SHARED",
    "NUMBERS",
    "THREADS",
    "Memory",
    "Plan",
    "plan",
    "source",
]

LARGEST_HIDDEN = 512
LARGEST_CLASSES = 64
# What a block may have on sm_90.
LARGEST_SHARED = 227 * 1024
THREADS = 256
_WARPS = THREADS // 32
_SIDE = 16
# A warp's scratch is 16 rows of 20 numbers in fp32.
_SCRATCH_BYTES = _WARPS * _SIDE * 20 * 4
# Rows of a tile, the best first where nothing else decides. Which is fastest has not been measured.
_ROWS = (32, 64, 16)
# A warp that held more sums than this would spill registers.
_MOST_FRAGMENTS = 8
_ALIGNMENT = 128
# The source, one text for the compiler: NVRTC then needs no path to include from.
_FILES = ("machine.cuh", "fragments.cuh", "two_hidden.cu")

# The fields of the kernel's struct Arguments, in order, all of 64 bits: addresses, strides in elements, sizes, and
# offsets in shared memory in bytes. `clip` is a double, the others are integers.
NUMBERS = (
    "hidden1", "hidden2", "output", "start1", "start2", "start3", "drive", "w2", "w3", "bias2", "bias3", "target",
    "beta", "partial",
    "hidden1_p", "hidden1_b", "hidden2_p", "hidden2_b", "output_p", "output_b", "start1_p", "start1_b", "start2_p",
    "start2_b", "start3_p", "start3_b", "drive_p", "drive_b", "w2_p", "w2_k", "w3_p", "w3_k", "bias2_p", "bias3_p",
    "target_p", "target_b",
    "batch", "width1", "width2", "classes", "tiles", "steps", "order",
    "at_h1", "at_h2", "at_o", "at_drive", "at_bias2", "at_bias3", "at_scratch", "at_w2", "at_w3", "at_buffer",
    "kept2", "kept3", "buffer_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Memory:
    """Where a block's shared memory holds what: offsets in bytes, in the order of the fields, and its `size_bytes`.

    `kept2` and `kept3` are the rows of W_2 and W_3 (padded to multiples of 16) that stay; each of two buffers of
    `buffer_bytes` takes at least 16 rows of what does not.
    """

    at_h1: int
    at_h2: int
    at_o: int
    at_drive: int
    at_bias2: int
    at_bias3: int
    at_scratch: int
    at_w2: int
    at_w3: int
    at_buffer: int
    kept2: int
    kept3: int
    buffer_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a phase is launched: `rows` samples a block, `fragments` sums of 16 x 16 a warp, and the shared memory."""

    half: bool
    half_drive: bool
    readout: bool
    rows: int
    fragments: int
    memory: Memory

    @property
    def options(self) -> tuple[str, ...]:
        """The compiler's options: one compilation serves all sizes that share them."""
        return (
            "-std=c++17",
            f"-DSTATE_HALF={int(self.half)}",
            f"-DDRIVE_HALF={int(self.half_drive)}",
            f"-DREADOUT={int(self.readout)}",
            f"-DROWS={self.rows}",
            f"-DFRAGMENTS={self.fragments}",
        )


@dataclass(frozen=True, slots=True)
class _Problem:
    """The padded widths, and the bytes of a state and of a drive."""

    first: int
    second: int
    classes: int
    size: int
    drive: int

    def lead(self, width: int) -> int:
        """Return the bytes between rows of shared memory: 16 more than the row has, so that banks differ."""
        return width * self.size + 16


def plan(
    widths: tuple[int, int, int],
    batch: int,
    *,
    half: bool,
    half_drive: bool,
    readout: bool,
    shared_bytes: int = LARGEST_SHARED,
) -> Plan:
    """Return the plan of networks of `widths` (H_1, H_2, C): of the tiles that fit, the one that streams least.

    A tile streams each row of weights that is not kept twice a sweep, for all its samples at once. The widest networks
    need about 214 KiB of `shared_bytes` in fp32.

    Raises KernelError where no tile fits.
    """
    size = 2 if half else 4
    first, second, classes = (-(-width // _SIDE) * _SIDE for width in widths)
    problem = _Problem(first, second, classes, size, 2 if half_drive else 4)
    whole = -(-batch // _SIDE) * _SIDE
    found: list[tuple[float, int, Memory]] = []
    for preference, rows in enumerate(_ROWS):
        if rows > whole or _fragments(problem, rows) > _MOST_FRAGMENTS:
            continue
        memory = _memory(problem, rows, shared_bytes)
        if memory is not None:
            found.append((_streamed(problem, memory) / rows, preference, memory))
    if not found:
        raise KernelError(
            f"no tile of two hidden layers of {widths[0]} and {widths[1]} units with {widths[2]} classes fits "
            f"{shared_bytes} bytes of shared memory. Settle them with settle_persistent_ragged."
        )
    _, preference, memory = min(found, key=lambda each: each[:2])
    rows = _ROWS[preference]
    return Plan(half, half_drive, readout, rows, _fragments(problem, rows), memory)


def source() -> str:
    """Return the kernel's CUDA source: struct Arguments, made from `NUMBERS`, and the files beside this one."""
    fields = "".join(f"  long long {name};\n" for name in NUMBERS)
    here = Path(__file__).parent
    texts = [(here / name).read_text(encoding="utf-8") for name in _FILES]
    return "\n".join([f"struct Arguments {{\n{fields}  double clip;\n}};\n", *texts])


def _fragments(problem: _Problem, rows: int) -> int:
    """Return how many sums a warp holds while the second layer moves, rounded up to a power of two."""
    columns, step = problem.second // _SIDE, _WARPS * _SIDE // rows
    each = -(-columns // step)
    # Few compilations for many widths.
    return int(1 << (each - 1).bit_length())


def _streamed(problem: _Problem, memory: Memory) -> int:
    """Return the bytes of weights that are not kept."""
    left = (problem.first - memory.kept2) * problem.second + (problem.second - memory.kept3) * problem.classes
    return left * problem.size


def _memory(problem: _Problem, rows: int, limit: int) -> Memory | None:
    """Return the layout for tiles of `rows` samples, or None where it does not fit `limit` bytes."""
    lead2, lead3 = problem.lead(problem.second), problem.lead(problem.classes)
    scores = rows * (problem.classes + 4) * 4
    fixed = (
        rows * problem.lead(problem.first),
        rows * lead2,
        rows * lead3,
        rows * problem.first * problem.drive,
        problem.second * 4,
        problem.classes * 4,
        max(_SCRATCH_BYTES, scores),
    )
    offsets, end = _placed(fixed)
    if _placed((problem.first * lead2, problem.second * lead3), end)[1] <= limit:
        return _finished(offsets, end, problem, (problem.first, problem.second), 0)
    # Every warp has a column of fragments of a streamed tile, or as many warps as fit.
    step = min(_WARPS * _SIDE * _SIDE // rows, problem.first)
    while step >= _SIDE:
        # Rows of W_3 may be the longer ones.
        buffer = _aligned(max(step // _SIDE * _SIDE * lead2, _SIDE * lead3))
        left = limit - end - 2 * buffer - 2 * _ALIGNMENT
        if left >= 0:
            kept3 = min(problem.second, left // lead3 // _SIDE * _SIDE)
            kept2 = min(problem.first, (left - kept3 * lead3) // lead2 // _SIDE * _SIDE)
            return _finished(offsets, end, problem, (kept2, kept3), buffer)
        step //= 2
    return None


def _finished(offsets: list[int], end: int, problem: _Problem, kept: tuple[int, int], buffer: int) -> Memory:
    """Return the layout with the kept rows and the buffers after what ends at `end`."""
    sizes = (kept[0] * problem.lead(problem.second), kept[1] * problem.lead(problem.classes), 2 * buffer)
    after, size = _placed(sizes, end)
    at_h1, at_h2, at_o, at_drive, at_bias2, at_bias3, at_scratch = offsets
    at_w2, at_w3, at_buffer = after
    return Memory(
        at_h1=at_h1, at_h2=at_h2, at_o=at_o, at_drive=at_drive, at_bias2=at_bias2, at_bias3=at_bias3,
        at_scratch=at_scratch, at_w2=at_w2, at_w3=at_w3, at_buffer=at_buffer, kept2=kept[0], kept3=kept[1],
        buffer_bytes=buffer, size_bytes=size,
    )  # fmt: skip


def _placed(sizes: tuple[int, ...], start: int = 0) -> tuple[list[int], int]:
    """Return the aligned offsets of parts of these sizes from `start` on, and where the last ends."""
    offsets = []
    for size in sizes:
        start = _aligned(start)
        offsets.append(start)
        start += size
    return offsets, start


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
