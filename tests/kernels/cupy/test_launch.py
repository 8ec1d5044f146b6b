"""What is asked of CuPy, by a stand-in for it: the stream, the attribute, the struct and the shared memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kernels.backends.cupy import two_hidden
from kernels.backends.cupy.two_hidden import ARGUMENTS, _Device, _kernel, _shared_bytes
from kernels.backends.cupy.two_hidden_plan import THREADS, plan, source
from kernels.errors import KernelError


class Cupy:
    """The part of CuPy that is used, which writes down how."""

    def __init__(self, capability: str = "90") -> None:
        self.capability = capability
        self.entered: list[Any] = []
        self.compiled: list[tuple[str, tuple[str, ...]]] = []
        self.launched: list[tuple[Any, ...]] = []
        self.kernel: Any = None
        self.cuda = SimpleNamespace(Device=self.device, Stream=SimpleNamespace(from_external=self.stream))

    @contextmanager
    def within(self, what: Any) -> Iterator[None]:
        self.entered.append(what)
        yield
        self.entered.remove(what)

    def device(self, index: int) -> Any:
        held = self.within(index)
        return Held(
            held, compute_capability=self.capability, attributes={"MaxSharedMemoryPerBlockOptin": 232_448}
        )

    def stream(self, stream: Any) -> Any:
        return self.within(stream.__cuda_stream__())

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> Any:  # noqa: N802  # CuPy's name
        self.compiled.append((code, options))
        return SimpleNamespace(get_function=self.function)

    def function(self, name: str) -> Any:
        assert f" {name}(const Arguments" in source()
        owner = self

        class Kernel:
            max_dynamic_shared_size_bytes = 0

            def __call__(self, grid: Any, block: Any, arguments: Any, *, shared_mem: int) -> None:
                assert shared_mem <= self.max_dynamic_shared_size_bytes
                owner.launched.append((grid, block, arguments, shared_mem, list(owner.entered)))

        return Kernel()


class Held(SimpleNamespace):
    """A device: attributes, and a context."""

    def __init__(self, held: Any, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._held = held

    def __enter__(self) -> None:
        self._held.__enter__()

    def __exit__(self, *error: object) -> None:
        self._held.__exit__(*error)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    for cached in (_kernel, _shared_bytes):
        cached.cache_clear()
    yield
    for cached in (_kernel, _shared_bytes):
        cached.cache_clear()


def test_a_launch_goes_to_the_stream_of_torch_with_the_struct_by_value(monkeypatch: pytest.MonkeyPatch):
    cupy = Cupy()
    monkeypatch.setattr(two_hidden, "_cupy", lambda: cupy)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: SimpleNamespace(cuda_stream=4096 + index))
    made = plan((256, 256, 10), 64, half=True, half_drive=False, readout=True)
    device = _Device(torch.device("cuda", 1))
    packed = np.zeros((), dtype=ARGUMENTS)
    device.launch(made, 7, packed)
    device.launch(made, 9, packed)
    assert cupy.compiled == [(source(), made.options)]
    assert [each[:2] for each in cupy.launched] == [((7,), (THREADS,)), ((9,), (THREADS,))]
    for _, _, arguments, shared, entered in cupy.launched:
        assert arguments == (packed,)
        assert shared == made.memory.size_bytes
        assert entered == [1, (0, 4097)]


def test_a_device_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(two_hidden, "_cupy", lambda: Cupy("75"))
    with pytest.raises(KernelError, match=r"8\.0 or above, device 0 has 7\.5"):
        _Device(torch.device("cuda", 0)).shared_bytes()
