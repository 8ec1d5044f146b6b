"""The choice of a backend: each refusal has its reason, and each probe runs once at most and holds up nobody."""

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kernels import BackpropLearner, EqpropLearner, KernelError, OptimizerSettings, Topology, choose_backend
from kernels.backend import _HERE, Backend, Backends, backend_table
from kernels.backends.memory import WithinMemory, device_memory
from kernels.backends.probe import answer, probe_cupy, probe_torch_cuda, probe_triton
from kernels.learner import Learner
from kernels.members import Member
from kernels.rules import EVERY_ARITHMETIC, ArithmeticName
from tests.kernels.networks import parameters, rule

NAMES = ["triton", "cupy", "torch-cuda", "torch-cpu", "reference"]
SHAPE = Topology((12, 9, 5))
ALL = _HERE._members


@dataclass
class Fake:
    """A backend whose probe says what the test wants, and counts."""

    name: str
    says: Callable[[], str | None] = lambda: None
    lacks: dict[str, str] = field(default_factory=dict)
    leaving: str | None = None
    deadline_s: float | None = None
    asked: int = 0

    def probe(self) -> str | None:
        self.asked += 1
        return self.says()

    def lack(self, arithmetic: str) -> str | None:
        return self.lacks.get(arithmetic)

    def leaves(self, members: object, arithmetic: str) -> str | None:
        return self.leaving

    def learner(self, member: Member, *, arithmetic: ArithmeticName) -> Learner:
        raise NotImplementedError


def fails(error: BaseException) -> Callable[[], str | None]:
    def probe() -> str | None:
        raise error

    return probe


@pytest.mark.parametrize(
    ("first", "second", "chosen", "refusals"),
    [
        (Fake("a"), Fake("b"), "a", {"b": "a comes first"}),
        (Fake("a", lambda: "no device"), Fake("b"), "b", {"a": "no device"}),
        (Fake("a", lacks={"fp32": "no learner"}), Fake("b"), "b", {"a": "no learner"}),
        (
            Fake("a", lambda: "no device", lacks={"fp32": "no learner"}),
            Fake("b"),
            "b",
            {"a": "no learner"},
        ),
        (Fake("a", lacks={"bf16": "no bf16"}), Fake("b"), "a", {"b": "a comes first"}),
        (Fake("a"), Fake("b", lacks={"fp32": "no fp32"}), "a", {"b": "no fp32"}),
        (
            Fake("a", fails(RuntimeError("driver too\n old"))),
            Fake("b"),
            "b",
            {"a": "RuntimeError: driver too old"},
        ),
        (Fake("a", fails(OSError())), Fake("b"), "b", {"a": "OSError: no message"}),
    ],
)
def test_the_first_that_can_is_chosen(first: Fake, second: Fake, chosen: str, refusals: dict) -> None:
    backends = Backends((first, second))
    found, why = backends.choose("auto", "fp32")
    assert (found.name, why) == (chosen, refusals)


def test_a_forced_choice_serves_or_says_why_not() -> None:
    members = (
        Fake("a", lambda: "no device", {"bf16": "no bf16"}),
        Fake("b", lacks={"exact-1": "no exact-1"}),
        Fake("c"),
    )
    backends = Backends(members)
    found, why = backends.choose("c", "exact-1")
    assert (found.name, why) == ("c", {"a": "'c' was asked for", "b": "no exact-1"})
    for name, arithmetic, reason in (
        ("a", "fp32", "a: no device"),
        ("a", "bf16", "a: no device; no bf16"),
        ("b", "exact-1", "b: no exact-1"),
        ("d", "fp32", "one of a, b, c, got 'd'"),
        ("c", "fp8", "got 'fp8'"),
    ):
        with pytest.raises(KernelError, match=reason):
            backends.choose(name, arithmetic)
    with pytest.raises(KernelError, match="a: no device; b: no exact-1"):
        Backends(members[:2]).choose("auto", "exact-1")


def test_the_table_says_what_the_machine_could_do() -> None:
    members = (
        Fake("a", lambda: "no device", {"fp32": "no learner"}),
        Fake("b", lacks={"fp32": "no learner"}),
        Fake("c", fails(RuntimeError("lost"))),
        Fake("d"),
    )
    backends = Backends(members)
    found, why = backends.choose("auto", "fp32")
    assert (found.name, why) == ("d", {"a": "no learner", "b": "no learner", "c": "RuntimeError: lost"})
    assert [each.asked for each in members] == [0, 0, 1, 1]
    assert backends.table("fp32") == {
        "a": "no device; no learner",
        "b": "no learner",
        "c": "RuntimeError: lost",
        "d": "",
    }
    assert backends.table("exact-1") == {"a": "no device", "b": "", "c": "RuntimeError: lost", "d": ""}
    assert [each.asked for each in members] == [1, 1, 1, 1]


def test_a_probe_runs_once_and_only_where_its_answer_counts() -> None:
    first, second, third = Fake("a", lambda: "no device"), Fake("b"), Fake("c")
    backends = Backends((first, second, third))
    backends.choose("b", "fp32")
    assert [each.asked for each in (first, second, third)] == [0, 1, 0]
    for _ in range(3):
        backends.choose("auto", "fp32")
        backends.choose("auto", "bf16")
    assert [each.asked for each in (first, second, third)] == [1, 1, 0]
    assert backends.table() == backends.table("bf16") == {"a": "no device", "b": "", "c": ""}
    with pytest.raises(KernelError, match="no device"):
        backends.choose("a", "fp32")
    assert [each.asked for each in (first, second, third)] == [1, 1, 1]


@pytest.mark.parametrize("deadline_s", [None, 600.0])
def test_what_fails_in_a_probe_is_its_reason(deadline_s: float | None) -> None:
    for error in (
        AssertionError("Torch not compiled with CUDA enabled"),
        ImportError("libcuda.so.1"),
        MemoryError("all gone"),
        subprocess.CalledProcessError(1, "ptxas"),
    ):
        reason = answer(fails(error), deadline_s)
        assert reason is not None
        assert reason.startswith(type(error).__name__) and str(error) in reason
    long = answer(fails(RuntimeError("x" * 10_000)), deadline_s)
    assert long is not None and len(long) == 300
    assert answer(lambda: None, deadline_s) is None


def test_a_probe_that_hangs_does_not_hang_the_choice() -> None:
    let_go = threading.Event()

    def hang() -> str | None:
        let_go.wait()
        return None

    try:
        stuck = Fake("a", hang, deadline_s=0.0)
        found, why = Backends((stuck, Fake("b"))).choose("auto", "fp32")
    finally:
        let_go.set()
    assert (found.name, why) == ("b", {"a": "its probe gave no answer within 0 s"})


def test_a_defect_of_a_probe_is_shown_and_not_taken_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[type[BaseException] | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: shown.append(told.exc_type))
    reason = answer(fails(TypeError("our own mistake")), 600.0)
    assert reason is not None and "broke off" in reason
    assert shown == [TypeError]
    with pytest.raises(TypeError):
        answer(fails(TypeError("our own mistake")), None)


def test_auto_passes_over_what_a_backend_leaves_to_others_and_asks_it_nothing() -> None:
    first, second = Fake("a", leaving="another is faster"), Fake("b")
    backends = Backends((first, second))
    found, why = backends.choose("auto", "fp32")
    assert (found.name, why) == ("b", {"a": "another is faster"})
    assert first.asked == 0
    assert backends.choose("a", "fp32")[0] is first
    assert backends.table() == {"a": "", "b": ""}, "it could"


def test_kernels_without_a_learner_refuse_wherever_they_run() -> None:
    table = backend_table()
    assert list(table) == NAMES
    assert table["cupy"].endswith("it has no learners")
    with pytest.raises(KernelError, match="it has no learners"):
        choose_backend("cupy")
    assert table["torch-cpu"] == table["reference"] == ""
    assert "float64" in backend_table("bf16")["reference"]


def test_each_class_has_the_backends_that_serve_it() -> None:
    """What a backend lacks it lacks on every machine."""
    served = {
        arithmetic: [each.name for each in ALL if each.lack(arithmetic) is None]
        for arithmetic in EVERY_ARITHMETIC
    }
    assert served == {
        "fp32": ["triton", "torch-cuda", "torch-cpu", "reference"],
        "bf16": ["torch-cuda", "torch-cpu"],
        "exact-1": ["torch-cuda", "torch-cpu"],
        "fp16": ["triton"],
    }
    assert all("fp16" in why for name, why in backend_table("fp16").items() if name.startswith("torch"))


def with_triton(*absent: str) -> Backends:
    """The backends as on a machine that has all but those `absent`."""
    return Backends([Offered(each, each.name not in absent) for each in ALL])


@dataclass
class Offered:
    """A backend whose probe says that it is there, or that it is not."""

    real: Backend
    there: bool
    deadline_s: float | None = None

    @property
    def name(self) -> str:
        return self.real.name

    def probe(self) -> str | None:
        return None if self.there else "no device"

    def lack(self, arithmetic: ArithmeticName) -> str | None:
        return self.real.lack(arithmetic)

    def leaves(self, members: Sequence[Member], arithmetic: ArithmeticName) -> str | None:
        return self.real.leaves(members, arithmetic)

    def learner(self, member: Member, *, arithmetic: ArithmeticName) -> Learner:
        raise NotImplementedError


def test_auto_takes_triton_for_populations_that_it_serves() -> None:
    backends = with_triton()
    tiny = Member(SHAPE, {}, rule(), OptimizerSettings(), 6)
    muon = Member(SHAPE, {}, rule(), OptimizerSettings("muon"), 6)
    wide = Member(Topology((784, 2048, 10)), {}, rule(), OptimizerSettings(), 128)
    for members, expected in (
        ([tiny], "triton"),
        ([tiny, muon], "torch-cuda"),
        ([tiny, wide], "torch-cuda"),
        ([], "torch-cuda"),
    ):
        found, why = backends.choose("auto", "fp32", members)
        assert found.name == expected
        assert expected == "triton" or "triton" in why
    assert backends.choose("auto", "bf16", [tiny])[0].name == "torch-cuda"
    assert backends.choose("auto", "fp16")[0].name == "triton"
    assert backends.choose("triton", "fp32", [muon])[0].name == "triton", "the learner says what it lacks"
    assert with_triton("triton").choose("auto", "fp32", [tiny])[0].name == "torch-cuda"
    assert with_triton("triton", "torch-cuda").choose("auto", "fp32")[0].name == "torch-cpu"
    with pytest.raises(KernelError, match="triton: no device"):
        with_triton("triton").choose("auto", "fp16")


def test_an_arithmetic_class_of_the_kernels_alone_is_no_torch_learners() -> None:
    with pytest.raises(KernelError, match="no backend 'torch-cpu' serves 'fp16'"):
        EqpropLearner(
            SHAPE,
            parameters(SHAPE),
            rule(),
            OptimizerSettings(),
            batch=6,
            arithmetic="fp16",
            backend="torch-cpu",
        )
    with pytest.raises(KernelError, match="one of fp32, bf16, exact-1, got 'fp16'"):
        BackpropLearner(SHAPE, parameters(SHAPE), OptimizerSettings(), batch=6, arithmetic="fp16")


class Full:
    """A learner on a device whose memory is spent."""

    def refuse(self, *arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\n Advice. More advice.")

    step = predict = load = diagnose = refuse

    def parameters(self) -> dict:
        return {"b1": np.zeros(1)}

    state = parameters


def test_a_device_without_memory_is_a_memory_error() -> None:
    x, y = np.zeros((3, 12), dtype=np.float32), np.zeros(3, dtype=np.int64)
    learner = WithinMemory(Full())  # type: ignore[arg-type]
    for act, what in (
        (lambda: learner.step(x, y, scale=1.0), "a step of 3 samples"),
        (lambda: learner.predict(x), "3 predictions"),
        (lambda: learner.load({}), "a state"),
        (lambda: learner.diagnose(x, y), "a diagnosis of 3 samples"),
    ):
        with pytest.raises(
            MemoryError, match=f"too little memory for {what} .CUDA out of memory.. Use a smaller"
        ):
            act()
    assert learner.parameters() == learner.state() == {"b1": np.zeros(1)}
    with pytest.raises(KeyError), device_memory("anything"):
        raise KeyError("another error is nobody's memory")


def test_a_package_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.backends.probe.find_spec", lambda package: None)
    for probe, package in ((probe_triton, "triton"), (probe_cupy, "cupy")):
        assert probe() == f"package {package} is not installed (extra cuda12 or cuda13)"


@pytest.mark.parametrize(
    ("available", "stored", "reason"),
    [
        (False, 1.0, "no CUDA device: cupy says none is available"),
        (True, 0.0, "cupy computes 0.0 where 1.0 is right"),
        (True, 1.0, None),
    ],
)
def test_a_launch_counts_by_what_it_stored(
    available: bool, stored: float, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raw_kernel(source: str, name: str) -> Callable[..., None]:
        assert f"void {name}(" in source
        return lambda grid, block, arguments: arguments[0].__setitem__(0, stored)

    fake = SimpleNamespace(is_available=lambda: available, zeros=np.zeros, RawKernel=raw_kernel)
    modules = {"cupy": fake, "cupy.cuda.compiler": SimpleNamespace(CompileException=ValueError)}
    monkeypatch.setattr("kernels.backends.probe.find_spec", lambda package: object())
    monkeypatch.setattr("kernels.backends.probe.import_module", modules.__getitem__)
    assert probe_cupy() == reason


def test_without_a_device_torch_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without one, whichever this is."""
    import torch

    def refuse(*shape: int, device: str) -> None:
        raise RuntimeError("Found no NVIDIA driver on your system.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "zeros", refuse)
    monkeypatch.setattr("kernels.backends.probe.find_spec", lambda package: object())
    for probe in (probe_torch_cuda, probe_triton):
        assert probe() == "no CUDA device: torch says RuntimeError: Found no NVIDIA driver on your system."


ALONE = """
import sys
from kernels import choose_backend
assert "torch" not in sys.modules
chosen, refusals = choose_backend("reference")
assert "torch" not in sys.modules
for name in ("torch-cpu", "auto"):
    chosen, refusals = choose_backend(name)
assert not {"triton", "cupy"} & sys.modules.keys()
assert len(refusals) == 4
"""


def test_a_package_is_loaded_by_its_own_probe_alone() -> None:
    """Another process, because this one may have loaded anything."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_backend_of_a_learner_is_the_one_that_runs() -> None:
    settings = OptimizerSettings("sgd", rate=0.1)
    for name in ("torch-cpu", "reference"):
        learner = EqpropLearner(SHAPE, parameters(SHAPE), rule(), settings, batch=6, backend=name)
        assert learner.backend == name
        assert learner.refusals == {other: learner.refusals[other] for other in NAMES if other != name}
    for name in ("auto", "torch-cpu"):
        baseline = BackpropLearner(SHAPE, parameters(SHAPE), settings, batch=6, backend=name)
        assert baseline.backend == "torch-cpu"
    for name in ("reference", "torch-cuda", "abacus"):
        with pytest.raises(KernelError, match=f"torch-cpu alone, got '{name}'"):
            BackpropLearner(SHAPE, parameters(SHAPE), settings, batch=6, backend=name)
