"""CUDA graphs in miniature, on the CPU: what torch dispatches is written down and done again on the same memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def tensors(*nested: Any) -> list[Tensor]:
    return [each for each in tree_leaves(nested) if isinstance(each, Tensor)]


class Tape(TorchDispatchMode):
    """Writes down every operation with its very arrays and numbers, as a capture does.

    Like a capture it refuses to read a number back, and leaves everything as it was: what an operation overwrites is
    kept, to be put back.
    """

    def __init__(self, home: str) -> None:
        super().__init__()
        self._home = home
        self._entries: list[tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any], list[Tensor]]] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing: a number is read back")
        away = [each for each in tensors(args, kwargs) if each.device.type != self._home]
        if away:
            raise RuntimeError(f"{func} reads memory of the host, which no replay would read again")
        for given, declared in zip(args, func._schema.arguments, strict=False):
            self._keep(given, declared)
        for declared in func._schema.arguments:
            if declared.name in kwargs:
                self._keep(kwargs[declared.name], declared)
        result = func(*args, **kwargs)
        aliases = [each.alias_info for each in func._schema.returns]
        # A view is an address, which a replay has no use for; what an operation makes must be made in one place.
        if not aliases or any(each is None or each.is_write for each in aliases):
            fresh = tensors(result) if aliases and all(each is None for each in aliases) else []
            self._entries.append((func, args, kwargs, fresh))
        return result

    def _keep(self, given: Any, declared: Any) -> None:
        if declared.alias_info is None or not declared.alias_info.is_write or self._home == "meta":
            return
        for each in tensors(given):
            storage = each.untyped_storage()
            if storage.data_ptr() not in self._before:
                self._before[storage.data_ptr()] = (storage, storage.clone())

    def undo(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)
        self._before.clear()

    def replay(self) -> None:
        for func, args, kwargs, fresh in self._entries:
            result = func(*args, **kwargs)
            for old, new in zip(fresh, tensors(result), strict=True) if fresh else ():
                old.copy_(new)


class TapeRecorder:
    """A `Recorder` that needs no device; it counts what is asked of it."""

    def __init__(self, home: str = "cpu") -> None:
        self._home = home
        self.warmed = self.recorded = self.replayed = 0

    def warm(self, work: Callable[[], object]) -> None:
        self.warmed += 1
        work()

    def record(self, work: Callable[[], object]) -> Callable[[], None]:
        self.recorded += 1
        tape = Tape(self._home)
        with tape:
            work()
        tape.undo()

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return replay
