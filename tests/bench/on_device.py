"""Timing on a CUDA device: medians of its own clock, calls as graphs, and what the card does at best."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Device", "Way", "graphed", "measured_device", "median_s"]

Way = Callable[[], object]


def median_s(way: Way, repeats: int) -> tuple[float, float]:
    """(median, spread) of the device's seconds for one call; the spread is the range of the middle half over it."""
    for _ in range(3):
        way()
    times = []
    for _ in range(repeats):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        way()
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last) / 1e3)
    quarters = statistics.quantiles(times, n=4)
    return quarters[1], (quarters[2] - quarters[0]) / quarters[1]


def graphed(way: Way) -> Way:
    """`way` as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            way()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        way()
    return graph.replay


@dataclass(frozen=True)
class Device:
    """What the card does at best, as measured here."""

    name: str
    product_rate: float
    copy_rate: float


def measured_device() -> Device:
    """The rate of a large fp16 product, and of a copy, both directions counted."""
    a, b = (torch.rand(8192, 8192, device="cuda").half() for _ in range(2))
    product, _ = median_s(lambda: torch.mm(a, b), 20)
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    copy, _ = median_s(lambda: target.copy_(source), 20)
    return Device(torch.cuda.get_device_name(), 2 * 8192.0**3 / product, 2 * 4 * 2.0**28 / copy)
