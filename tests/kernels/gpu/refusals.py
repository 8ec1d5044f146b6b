"""Arguments that the kernels' wrappers refuse, each with the word that the message must say."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from kernels.backends.triton import (
    AdamState,
    Feed,
    Network,
    Product,
    RaggedLayout,
    SgdState,
    hebbian_bias,
    hebbian_update,
    newton_schulz_small,
    power_iter,
    settle_layer,
    settle_persistent_1h,
    settle_persistent_ragged,
)
from kernels.errors import KernelError

P, B, K, N, CLASSES = 3, 37, 70, 45, 10
NETWORKS = (
    Network((9, 45, CLASSES), "mse", 3, "backward"),
    Network((9, 20, 33, CLASSES), "ce", 2, "forward"),
)


def refused(word: str, act: Callable[[], object]) -> None:
    """Fail unless `act` raises a KernelError that says `word`."""
    with pytest.raises(KernelError) as caught:
        act()
    assert word in str(caught.value), f"expected {word!r} in: {caught.value}"


def layer(device: str) -> None:
    """Arguments of settle_layer that do not fit together."""
    f = partial(torch.zeros, device=device)
    out, base = f(P, B, N), f(P, N)
    feed = Feed(f(P, B, K), f(P, K, N))
    nudge = {"target": f(P, B, N), "beta": f(P)}

    def call(**options: Any) -> Callable[[], None]:
        return lambda: settle_layer(
            **{"out": out, "base": base, "activation": "clip", "below": feed, **options}
        )

    refused("[P, B, N]", call(out=f(B, N)))
    refused("float16 or float32", call(out=f(P, B, N, dtype=torch.float64)))
    refused("base", call(base=f(P, N + 1)))
    refused("float32", call(base=f(P, N, dtype=torch.float16)))
    refused("below.states", call(below=Feed(f(P, B + 1, K), f(P, K, N))))
    refused("below.weight", call(below=Feed(f(P, B, K), f(P, N, K))))
    refused("above.weight", call(above=Feed(f(P, B, K), f(P, K, N))))
    refused("contiguous", call(below=Feed(f(P, K, B).mT, f(P, K, N))))
    refused("share memory", call(out=feed.states[:, :, :N]))
    refused("activation", call(activation="relu"))
    refused("clip", call(clip=0.0))
    refused("clip", call(clip=float("nan")))
    refused("belong together", call(activation="output", target=nudge["target"]))
    refused("needs target", call(activation="pull"))
    refused("not nudged", call(**nudge))
    refused("beta", call(activation="output", target=nudge["target"], beta=f(P, 1)))
    refused("step_size", call(step_size=1.5, previous=out))
    refused("previous", call(step_size=0.5))
    refused("previous", call(change=f(P)))
    refused("takes no step_size", call(activation="linear", step_size=0.5, previous=out))
    refused("at most 128", call(out=f(P, B, 129), base=f(P, 129), below=None, activation="pull", **nudge))
    refused("empty", call(out=f(P, 0, N)))


def one_hidden(device: str) -> None:
    """Arguments of settle_persistent_1h that do not fit together."""
    f = partial(torch.zeros, device=device)

    def call(h: int = N, c: int = CLASSES, **options: Any) -> Callable[[], object]:
        good = {
            "hidden": f(P, B, h), "output": f(P, B, c), "start_hidden": f(P, B, h), "start_output": f(P, B, c),
            "drive": f(P, B, h), "weight": f(P, h, c), "bias": f(P, c), "target": f(P, B, c), "beta": f(P),
            "steps": 1, "order": "forward",
        }  # fmt: skip
        return lambda: settle_persistent_1h(**{**good, **options})  # type: ignore[arg-type]

    refused("at most 512", call(h=513))
    refused("1 to 64 classes", call(c=65))
    refused("belong together", call(output=None))
    refused("steps", call(steps=0))
    refused("order", call(order="alternating"))
    refused("weight", call(weight=f(P, CLASSES, N)))
    refused("start_hidden", call(start_hidden=f(P, B, N, dtype=torch.float16)))
    refused("drive", call(drive=f(P, B, N, dtype=torch.float16)))
    refused("target", call(target=f(B, CLASSES)))
    refused("clip", call(clip=-1.0))


def ragged(device: str) -> None:
    """Networks and arguments that a ragged launch does not take."""
    f = partial(torch.zeros, device=device)
    layout = RaggedLayout(NETWORKS, B)

    def call(use: RaggedLayout = layout, **options: Any) -> Callable[[], object]:
        good = {
            "states": f(use.state_size), "table": use.table().to(device), "order": use.order().to(device),
            "drive": f(use.drive_size), "weights": f(use.weight_size), "biases": f(use.bias_size),
            "target": f(2, B, use.classes), "beta": f(2),
        }  # fmt: skip
        return lambda: settle_persistent_ragged(use, **{**good, **options})  # type: ignore[arg-type]

    refused("states", call(states=f(layout.state_size + 16)))
    refused("weights", call(weights=f(layout.weight_size, dtype=torch.float16)))
    refused("table", call(table=layout.table().to(device).long()))
    refused("target", call(target=f(3, B, CLASSES)))
    refused("at most 64", call(RaggedLayout((Network((9, 20, 65), "mse", 1, "forward"),) * 2, B)))
    refused("as many classes", lambda: RaggedLayout((NETWORKS[0], Network((9, 8, 7), "ce", 1, "forward")), B))
    refused("at least one", lambda: RaggedLayout((), B))
    refused("sizes", lambda: Network((9, 10), "ce", 1, "forward"))
    refused("sizes", lambda: Network((9,) * 10, "ce", 1, "forward"))
    refused("4096", lambda: Network((9, 4097, 10), "ce", 1, "forward"))
    refused("steps", lambda: Network((9, 8, 10), "ce", 0, "forward"))
    refused("layer", lambda: layout.weight(f(layout.weight_size), 0, 1))


def hebbian(device: str) -> None:
    """Arguments of hebbian_update and hebbian_bias that do not fit together."""
    f = partial(torch.zeros, device=device)
    product = Product(f(P, B, K), f(P, B, N), None, f(P, B, N))
    weight, bias, rows = f(P, K, N), f(P, N), f(P)
    sgd = SgdState(f(P, K, N), rows)

    def call(**options: Any) -> Callable[[], object]:
        good = {"weight": weight, "product": product, "unit": rows, "optimizer": sgd, "rate": rows}
        return lambda: hebbian_update(**{**good, **options})

    refused("float32", call(weight=weight.half()))
    refused("product.pre", call(product=Product(f(P, B, N), f(P, B, N), None, f(P, B, N))))
    refused("product.post_other", call(product=Product(f(P, B, K), f(P, B, N), None, f(P, B, N).half())))
    refused("unit", call(unit=f(P, 1)))
    refused("needs a rate", call(rate=None))
    refused("takes no rate", call(optimizer=None))
    refused("no shadow", call(optimizer=None, rate=None, shadow=weight))
    refused("share memory", call(optimizer=SgdState(weight, rows)))
    refused("time", call(optimizer=AdamState(f(P, K, N), f(P, K, N), 0)))
    refused("second", call(optimizer=AdamState(sgd.velocity, sgd.velocity, 1)))
    refused("contiguous", call(optimizer=SgdState(f(P, K, N + 3)[:, :, :N], rows)))
    refused("post_other", lambda: hebbian_bias(bias, product.post, f(P, B, K), unit=rows, optimizer=None))


def spectrum(device: str) -> None:
    """Matrices that power_iter and newton_schulz_small do not take."""
    f = partial(torch.zeros, device=device)
    refused("[P, R, C]", lambda: power_iter(f(5, 4), f(4), iterations=1))
    refused("2048", lambda: power_iter(f(1, 2, 2049), f(1, 2049), iterations=1))
    refused("iterations", lambda: power_iter(f(1, 5, 4), f(1, 4), iterations=0))
    refused("vector", lambda: power_iter(f(2, 5, 4), f(1, 4), iterations=1))
    refused("of its own", lambda: power_iter(f(2, 5, 4), f(1, 4).expand(2, 4), iterations=1))
    refused("64 x 128", lambda: newton_schulz_small(f(1, 65, 65), f(1, 65, 65), steps=1))
    refused("steps", lambda: newton_schulz_small(f(1, 5, 5), f(1, 5, 5), steps=21))
    refused("precision", lambda: newton_schulz_small(f(1, 5, 5), f(1, 5, 5), steps=1, precision="tf32"))  # type: ignore[arg-type]
    buffer = f(1, 50)
    crossed = (buffer[:, start : start + 25].view(1, 5, 5) for start in (0, 10))
    refused("share memory", lambda: newton_schulz_small(*crossed, steps=1))
