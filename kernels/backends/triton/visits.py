"""In which order a sweep moves the layers of a network, as a device function."""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import triton
import triton.language as tl

__all__ = ["layer_of"]


@triton.jit
def layer_of(visit, depth, backward, readout):
    """Which layer the `visit`-th move of a sweep is: a forward sweep reads the readout before the last hidden layer."""
    forward = visit + 1
    swapped = tl.where(forward == depth, depth - 1, tl.where(forward == depth - 1, depth, forward))
    forward = tl.where(readout, swapped, forward)
    return tl.where(backward, depth - visit, forward)
