"""What holds the weights between states to a spectral cap, those that carry states down included."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from kernels.general.couplings import Coupling, Dense
from kernels.general.structure import Structure, feedback_name
from kernels.spectral import SLACK, ExactCap, MaskedCap, SpectralCap, make_cap

__all__ = ["Cap", "feedback_caps", "forward_caps", "spectral_bounds"]

Cap = ExactCap | SpectralCap | MaskedCap


def spectral_bounds(structure: Structure, cap: float | None) -> dict[str, float]:
    """Return the bound on the spectral norm of each weight between states, and of its way down should it have one.

    Forward weights come first; none is bounded where `cap` is None.
    """
    if cap is None:
        return {}
    forward = [weight.name for weight in structure.weights if weight.recurrent]
    back = [feedback_name(name) for name in forward if name in structure.untieable]
    return dict.fromkeys([*forward, *back], cap)


def masks_of(couplings: Sequence[Coupling]) -> dict[str, Tensor]:
    """Return the mask of each weight that is felt through one, by the weight's name."""
    dense = [coupling for coupling in couplings if isinstance(coupling, Dense)]
    return {coupling.name: coupling.mask for coupling in dense if coupling.mask is not None}


def forward_caps(
    bounds: Mapping[str, float], values: Mapping[str, Tensor], couplings: Sequence[Coupling]
) -> list[Cap]:
    """Clip forward weights, of `values` by name, to their `bounds`; return what holds them there."""
    masks, found = masks_of(couplings), list[Cap]()
    for name, bound in bounds.items():
        if not name.startswith("f"):
            mask, value = masks.get(name), values[name]
            found.append(make_cap(value, [bound]) if mask is None else MaskedCap(value, mask, bound))
    return found


def feedback_caps(
    bounds: Mapping[str, float], values: Mapping[str, Tensor], couplings: Sequence[Coupling]
) -> list[Cap]:
    """Clip the feedback weights among `values` to the bounds of their forward ones; return what holds them there.

    By the exact clip, the projection onto the ball of norms that W is in, slack included: it takes B nearer to W, never
    away, so that a feedback that approaches W still does.
    """
    masks, found = masks_of(couplings), list[Cap]()
    for name, bound in bounds.items():
        if name.startswith("f") and name in values:
            mask, value, reach = masks.get(name[1:]), values[name], bound * (1.0 + SLACK)
            found.append(
                ExactCap(value, [reach]) if mask is None else MaskedCap(value, mask, reach, ExactCap)
            )
    return found
