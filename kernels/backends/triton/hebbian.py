"""The local update of P networks: the contrast of two phases and the optimizer's step in one pass over the weights.

With the two relaxations a (moved) and b (the other), D = b - a and M = (a + b)/2, the mean gradient is

    G = unit (M_{k-1}^T D_k + D_{k-1}^T M_k),    unit = 1/(d B), d the distance of the nudges (kernels.contrast).

Differences and means are formed in fp32 before anything is rounded, and both products run along the batch into one
accumulator. A clamped layer below (the input, or a readout's) has D = 0: one product. The epilogues are

    SGD with momentum:  V <- mu V + G,  W <- W - rate V
    Adam(W):            m <- .9 m + .1 G,  v <- .999 v + .001 G^2,
                        W <- (1 - rate decay) W - rate (m/(1 - .9^t))/(sqrt(v/(1 - .999^t)) + 1e-8)

Scellier & Bengio (2017), eq. 9; Kingma & Ba (2015); Loshchilov & Hutter (2019).
"""
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends.triton import checks
from kernels.backends.triton.checks import expect, expect_tensor

__all__ = ["AdamState", "Product", "SgdState", "hebbian_bias", "hebbian_update"]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
_BETA1, _BETA2 = tl.constexpr(BETA1), tl.constexpr(BETA2)
_KEPT1, _KEPT2 = tl.constexpr(1.0 - BETA1), tl.constexpr(1.0 - BETA2)

STORE = tl.constexpr(0)
SGD = tl.constexpr(1)


@triton.jit
def _step(values, shadows, first, second, where, mask, gradient, rate, momentum, keep, gain, floor,
          OPTIMIZER: tl.constexpr, SHADOW: tl.constexpr):  # fmt: skip
    """Step the parameters at `where` by `gradient`: 0 stores the gradient itself, 1 is SGD, 2 is Adam."""
    if OPTIMIZER == STORE:
        new = gradient
    elif OPTIMIZER == SGD:
        velocity = momentum * tl.load(first + where, mask=mask, other=0.0) + gradient
        tl.store(first + where, velocity, mask=mask)
        new = tl.load(values + where, mask=mask, other=0.0) - rate * velocity
    else:
        m = _BETA1 * tl.load(first + where, mask=mask, other=0.0) + _KEPT1 * gradient
        v = _BETA2 * tl.load(second + where, mask=mask, other=0.0) + _KEPT2 * gradient * gradient
        tl.store(first + where, m, mask=mask)
        tl.store(second + where, v, mask=mask)
        # Correctly rounded: the device's fast root and quotient flush small second moments to zero.
        step = tl.div_rn(m, tl.sqrt_rn(v) + floor)
        new = keep * tl.load(values + where, mask=mask, other=0.0) - rate * gain * step
    tl.store(values + where, new, mask=mask)
    if SHADOW:
        tl.store(shadows + where, new.to(shadows.dtype.element_ty), mask=mask)


@triton.jit
def _weights(values, shadows, first, second, pre, pre_other, post, post_other,
             units, rates, momenta, decays,
             B, K, N, pre_p, pre_b, po_p, po_b, post_p, post_b, qo_p, qo_b,
             gain, floor,
             CLAMPED: tl.constexpr, OPTIMIZER: tl.constexpr, SHADOW: tl.constexpr, DECAY: tl.constexpr,
             EXACT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    across = tl.cdiv(N, BN)
    each = tl.cdiv(K, BM) * across
    pid = tl.program_id(0)
    genome = (pid // each).to(tl.int64)
    tile = pid % each
    sources = (tile // across) * BM + tl.arange(0, BM)
    targets = (tile % across) * BN + tl.arange(0, BN)
    fed = sources < K
    used = targets < N
    pre += genome * pre_p
    post += genome * post_p
    pre_other += genome * po_p
    post_other += genome * qo_p
    acc = tl.zeros([BM, BN], tl.float32)
    for start in range(0, B, BK):
        rows = start + tl.arange(0, BK)
        live = rows < B
        below = live[:, None] & fed[None, :]
        here = live[:, None] & used[None, :]
        s = tl.load(pre + rows[:, None] * pre_b + sources[None, :], mask=below, other=0.0)
        t = tl.load(post + rows[:, None] * post_b + targets[None, :], mask=here, other=0.0).to(tl.float32)
        t_other = tl.load(post_other + rows[:, None] * qo_b + targets[None, :], mask=here, other=0.0)
        difference = (t_other.to(tl.float32) - t).to(s.dtype)
        if CLAMPED:
            acc = tl.dot(tl.trans(s), difference, acc, input_precision="ieee" if EXACT else "tf32")
        else:
            s_other = tl.load(pre_other + rows[:, None] * po_b + sources[None, :], mask=below, other=0.0)
            mean = (0.5 * (s.to(tl.float32) + s_other.to(tl.float32))).to(s.dtype)
            moved = (s_other.to(tl.float32) - s.to(tl.float32)).to(s.dtype)
            mean_above = (0.5 * (t + t_other.to(tl.float32))).to(s.dtype)
            acc = tl.dot(tl.trans(mean), difference, acc, input_precision="ieee" if EXACT else "tf32")
            acc = tl.dot(tl.trans(moved), mean_above, acc, input_precision="ieee" if EXACT else "tf32")
    rate = tl.load(rates + genome)
    momentum = tl.load(momenta + genome)
    keep = 1.0
    if DECAY:
        keep = 1.0 - rate * tl.load(decays + genome)
    # The weights of a genome are contiguous; 64 bit, a population's may pass 2**31.
    where = genome * K * N + sources[:, None] * N + targets[None, :]
    _step(values, shadows, first, second, where, fed[:, None] & used[None, :], acc * tl.load(units + genome),
          rate, momentum, keep, gain, floor, OPTIMIZER, SHADOW)  # fmt: skip


@triton.jit
def _biases(values, first, second, post, post_other, units, rates, momenta, decays,
            B, N, post_p, post_b, qo_p, qo_b, gain, floor,
            OPTIMIZER: tl.constexpr, DECAY: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    each = tl.cdiv(N, BN)
    pid = tl.program_id(0)
    genome = (pid // each).to(tl.int64)
    targets = (pid % each) * BN + tl.arange(0, BN)
    used = targets < N
    post += genome * post_p
    post_other += genome * qo_p
    acc = tl.zeros([BK, BN], tl.float32)
    for start in range(0, B, BK):
        rows = start + tl.arange(0, BK)
        here = (rows < B)[:, None] & used[None, :]
        t = tl.load(post + rows[:, None] * post_b + targets[None, :], mask=here, other=0.0)
        t_other = tl.load(post_other + rows[:, None] * qo_b + targets[None, :], mask=here, other=0.0)
        acc += t_other.to(tl.float32) - t.to(tl.float32)
    rate = tl.load(rates + genome)
    momentum = tl.load(momenta + genome)
    keep = 1.0
    if DECAY:
        keep = 1.0 - rate * tl.load(decays + genome)
    _step(values, values, first, second, genome * N + targets, used, tl.sum(acc, axis=0) * tl.load(units + genome),
          rate, momentum, keep, gain, floor, OPTIMIZER, SHADOW=False)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Product:
    """The states of both phases around a connection: `pre` [P, B, K] below it, `post` [P, B, N] above it.

    `pre` and `post` are of the phase that moved, the others of the other one. `pre_other` None says that `pre` is
    clamped: the input, or what a softmax readout reads, whose `post` is y and `post_other` p.
    """

    pre: Tensor
    post: Tensor
    pre_other: Tensor | None
    post_other: Tensor


@dataclass(frozen=True, slots=True)
class SgdState:
    """What SGD with momentum keeps: `velocity` like the parameter, fp32; `momentum` [P] fp32."""

    velocity: Tensor
    momentum: Tensor


@dataclass(frozen=True, slots=True)
class AdamState:
    """What Adam keeps: moments like the parameter, fp32, zero at first; `time` counts this step from 1.

    `decay` [P] fp32 makes it AdamW.
    """

    first: Tensor
    second: Tensor
    time: int
    decay: Tensor | None = None


Optimizer = SgdState | AdamState


def correction(optimizer: Optimizer | None) -> tuple[float, float]:
    """Return (gain, floor) with which Adam's step is rate gain m/(sqrt v + floor); (1, 0) for SGD."""
    if not isinstance(optimizer, AdamState):
        return 1.0, 0.0
    # In float64: 1 - .999^t loses half its digits in float32.
    spread = math.sqrt(1.0 - BETA2**optimizer.time)
    return spread / (1.0 - BETA1**optimizer.time), EPSILON * spread


def blocks(sources: int, targets: int, *, exact: bool) -> dict[str, int]:
    """Return the tile of a program (sources, targets, samples of a product step) and its warps."""
    rows, columns = (min(32 if exact else 64, checks.at_least(side, 16)) for side in (sources, targets))
    return {"BM": rows, "BN": columns, "BK": 16 if exact else 32, "num_warps": 4}


def hebbian_update(
    weight: Tensor,
    product: Product,
    *,
    unit: Tensor,
    optimizer: Optimizer | None,
    rate: Tensor | None = None,
    shadow: Tensor | None = None,
) -> None:
    """Step the fp32 masters `weight` [P, K, N], and their `shadow` in the dtype of the states, by the contrast.

    `unit` and `rate` are [P] fp32, one for each network. With `optimizer` None there is no step, and no rate or
    shadow: `weight` takes the mean gradient itself, for an optimizer that runs elsewhere. Weights, shadow and slots
    are contiguous and lie apart.

    Raises KernelError for arguments that do not fit together.
    """
    device = checks.expect_device(weight, interpreted=bool(triton.knobs.runtime.interpret))
    expect(weight.dim() == 3 and weight.numel() > 0, f"weight must be [P, K, N], got {tuple(weight.shape)}.")
    networks, sources, targets = weight.shape
    _check_sides(product, sources, targets)
    batch = product.pre.shape[1]
    dtype = product.pre.dtype
    expect_tensor("product.pre", product.pre, (networks, batch, sources), checks.STATE_DTYPES, device)
    if product.pre_other is not None:
        expect_tensor("product.pre_other", product.pre_other, (networks, batch, sources), dtype, device)
    for name, states in (("post", product.post), ("post_other", product.post_other)):
        expect_tensor(f"product.{name}", states, (networks, batch, targets), dtype, device)
    first, second, momentum, decay = _slots(weight, optimizer, unit, rate)
    if shadow is not None:
        expect(optimizer is not None, "a gradient has no shadow: leave it away, or give an optimizer.")
        _expect_like("shadow", shadow, weight, dtype)
    gain, floor = correction(optimizer)
    exact = dtype == torch.float32
    block = blocks(sources, targets, exact=exact)
    pre_other = product.pre if product.pre_other is None else product.pre_other
    _weights[(networks * checks.tiles(sources, block["BM"]) * checks.tiles(targets, block["BN"]),)](
        weight, weight if shadow is None else shadow, first, second,
        product.pre, pre_other, product.post, product.post_other,
        unit, unit if rate is None else rate, momentum, unit if decay is None else decay,
        batch, sources, targets,
        product.pre.stride(0), product.pre.stride(1), pre_other.stride(0), pre_other.stride(1),
        product.post.stride(0), product.post.stride(1), product.post_other.stride(0), product.post_other.stride(1),
        gain, floor,
        CLAMPED=product.pre_other is None, OPTIMIZER=_code(optimizer), SHADOW=shadow is not None,
        DECAY=decay is not None, EXACT=exact, **block,
    )  # fmt: skip


def hebbian_bias(
    bias: Tensor,
    post: Tensor,
    post_other: Tensor,
    *,
    unit: Tensor,
    optimizer: Optimizer | None,
    rate: Tensor | None = None,
) -> None:
    """Step the fp32 biases `bias` [P, N] by unit times the sum of D = post_other - post, both [P, B, N].

    As `hebbian_update` does with weights; biases have no shadow. Raises KernelError for arguments that do not fit
    together.
    """
    device = checks.expect_device(bias, interpreted=bool(triton.knobs.runtime.interpret))
    expect(bias.dim() == 2 and bias.numel() > 0, f"bias must be [P, N], got {tuple(bias.shape)}.")
    expect(post.dim() == 3, f"post must be [P, B, N], got {tuple(post.shape)}.")
    networks, width = bias.shape
    batch = post.shape[1]
    expect(1 <= batch <= checks.MAX_SIDE, f"a batch must have 1 to {checks.MAX_SIDE} samples, got {batch}.")
    expect(width <= checks.MAX_SIDE, f"a layer must have at most {checks.MAX_SIDE} units, got {width}.")
    expect_tensor("post", post, (networks, batch, width), checks.STATE_DTYPES, device)
    expect_tensor("post_other", post_other, (networks, batch, width), post.dtype, device)
    first, second, momentum, decay = _slots(bias, optimizer, unit, rate)
    gain, floor = correction(optimizer)
    columns = min(64, checks.at_least(width, 16))
    _biases[(networks * checks.tiles(width, columns),)](
        bias, first, second, post, post_other,
        unit, unit if rate is None else rate, momentum, unit if decay is None else decay,
        batch, width, post.stride(0), post.stride(1), post_other.stride(0), post_other.stride(1), gain, floor,
        OPTIMIZER=_code(optimizer), DECAY=decay is not None, BN=columns, BK=32, num_warps=4,
    )  # fmt: skip


def _code(optimizer: Optimizer | None) -> int:
    return 0 if optimizer is None else 1 if isinstance(optimizer, SgdState) else 2


def _check_sides(product: Product, sources: int, targets: int) -> None:
    expect(product.pre.dim() == 3, f"product.pre must be [P, B, K], got {tuple(product.pre.shape)}.")
    largest = max(product.pre.shape[1], sources, targets)
    expect(largest <= checks.MAX_SIDE, f"no side may be longer than {checks.MAX_SIDE}, got {largest}.")
    expect(product.pre.shape[1] >= 1, "a batch must have at least one sample, got none.")


def _expect_like(name: str, tensor: Tensor, parameter: Tensor, dtype: torch.dtype) -> None:
    expect_tensor(name, tensor, parameter.shape, dtype, parameter.device)
    expect(tensor.is_contiguous(), f"{name} must be contiguous, got the strides {tensor.stride()}.")


def _slots(
    parameter: Tensor, optimizer: Optimizer | None, unit: Tensor, rate: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Check what steps `parameter`; return its first and second slot, the momenta and the decays."""
    networks = parameter.shape[0]
    _expect_like("the parameter", parameter, parameter, torch.float32)
    expect_tensor("unit", unit, (networks,), torch.float32, parameter.device)
    if optimizer is None:
        expect(rate is None, "a gradient takes no rate: leave it away, or give an optimizer.")
        return parameter, parameter, unit, None
    expect(rate is not None, "an optimizer needs a rate for each network, got none.")
    assert rate is not None
    expect_tensor("rate", rate, (networks,), torch.float32, parameter.device)
    if isinstance(optimizer, SgdState):
        _expect_like("velocity", optimizer.velocity, parameter, torch.float32)
        expect_tensor("momentum", optimizer.momentum, (networks,), torch.float32, parameter.device)
        checks.apart(parameter, optimizer.velocity, "velocity")
        return optimizer.velocity, parameter, optimizer.momentum, None
    expect(optimizer.time >= 1, f"time must count this step from 1, got {optimizer.time}.")
    for name, slot in (("first", optimizer.first), ("second", optimizer.second)):
        _expect_like(name, slot, parameter, torch.float32)
        checks.apart(parameter, slot, name)
    checks.apart(optimizer.first, optimizer.second, "second")
    if optimizer.decay is not None:
        expect_tensor("decay", optimizer.decay, (networks,), torch.float32, parameter.device)
    return optimizer.first, optimizer.second, unit, optimizer.decay
