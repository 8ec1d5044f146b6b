"""Tensors amid NaN: what a kernel reads or writes beside them shows."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Rows before and after, and columns after: a kernel that strays by one row, column or network meets NaN.
BAND = 3
# What guards hold: a NaN with a payload of our own, by the size of an element.
PATTERNS = {2: 0x7E77, 4: 0x7FC77777}
INTEGERS = {2: torch.int16, 4: torch.int32}


class Guards:
    """Makes guarded tensors on `device`, and knows afterwards whether a guard was written to."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self._made: list[tuple[Tensor, Tensor, Tensor]] = []

    def empty(self, shape: Sequence[int], dtype: torch.dtype, *, dense: bool = False) -> Tensor:
        """A tensor of NaN amid guards: a view with rows apart, or of one dense block where the kernel wants that."""
        bits = INTEGERS[dtype.itemsize]
        if dense:
            inner = int(torch.tensor(shape).prod())
            # 64 elements are whole vectors: the tensor begins on a 16-byte boundary, as an allocation does.
            whole = torch.full((64 + inner + 64,), PATTERNS[dtype.itemsize], dtype=bits, device=self.device)
            inside = torch.zeros_like(whole, dtype=torch.bool)
            view, mark = (t[64 : 64 + inner].view(*shape) for t in (whole, inside))
        else:
            # No two tensors have the same strides: one that is taken for another's shows.
            padded = [size + 2 * BAND + len(self._made) for size in shape]
            whole = torch.full(padded, PATTERNS[dtype.itemsize], dtype=bits, device=self.device)
            inside = torch.zeros_like(whole, dtype=torch.bool)
            cut = tuple(slice(BAND, BAND + size) for size in shape)
            view, mark = whole[cut], inside[cut]
        mark |= True
        self._made.append((whole, inside, whole.clone()))
        return view.view(dtype)

    def of(self, values: Tensor, dtype: torch.dtype | None = None, *, dense: bool = False) -> Tensor:
        """`values` amid guards."""
        tensor = self.empty(values.shape, dtype or values.dtype, dense=dense)
        return tensor.copy_(values)

    def check(self) -> None:
        """Fail if any guard has changed."""
        for number, (whole, inside, before) in enumerate(self._made):
            strayed = (whole != before) & ~inside
            assert not bool(strayed.any()), (
                f"guard {number}: {int(strayed.sum())} elements beside it were written"
            )
