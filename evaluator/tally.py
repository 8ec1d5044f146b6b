"""Counts of products and element-wise passes, as they are added up. Pure."""

__all__ = ["Tally"]


class Tally:
    """Calls, multiply-accumulates and bytes of operands `width` bytes wide."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.calls = self.macs = self.bytes = 0.0

    def product(self, m: float, n: float, k: float, times: float = 1.0) -> None:
        """`times` products of (m, k) with (k, n)."""
        self.calls += times
        self.macs += times * m * n * k
        self.bytes += times * self.width * (m * n + m * k + n * k)

    def sweep(self, elements: float, passes: float, times: float = 1.0) -> None:
        """`times` runs of `passes` element-wise passes over `elements` numbers."""
        self.calls += times * passes
        self.bytes += times * passes * elements * 2 * self.width
