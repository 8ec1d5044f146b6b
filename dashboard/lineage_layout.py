"""Where each genome of a lineage stands: x is its birth, y its place in the leaf order of the first-parent tree. Pure.

Everything is O(n), in two passes over the births: widths from the youngest up, places from the oldest down. What a tree
collapses to are the ancestors of the living; each other subtree is a clade that came to nothing, and gets a height such
that a wedge from its first birth to its last has an area in proportion to its size.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Extinct", "Layout", "ancestors_of", "arrange"]

Extinct = Literal["hidden", "wedges", "full"]
"""How much room extinct subtrees get: none, a wedge each, or as much as the living for each of their leaves."""

# All wedges together are as high as this part of the living: enough to be seen between them.
_WEDGES = 1.0
# A clade that died at once would need an endless height for its area: none counts as shorter than this part of all.
_SHORTEST = 1 / 12
# Newcomers stand this far from their parent until the next full layout, on alternating sides.
_BESIDE = 0.35
# Up to here a full layout takes a few milliseconds; above, newcomers are put beside their parents for a while.
_ALWAYS = 1_000
_GROWN = 0.05


@dataclass
class Layout:
    """A tree that grows: `y` by birth, in slots of one living leaf from 0 to `height`; `kept` is 1 for who is shown.

    The one that made it is its owner, and appends to it. `laid` is the number of births of the last full layout.
    """

    extinct: Extinct
    y: "array[float]"
    kept: bytearray
    height: float
    laid: int
    _sides: int = field(default=0)

    def stale(self, count: int) -> bool:
        """Whether a full layout is due for `count` births, rather than `append`."""
        return count > self.laid and (count <= _ALWAYS or count > self.laid * (1 + _GROWN))

    def append(self, primary: Sequence[int], living: Iterable[int] = ()) -> None:
        """Place the births that `primary` has beyond those placed, each beside its parent or at the end.

        Who began to live is kept with its ancestors; nobody is dropped before the next full layout.
        """
        for born in range(len(self.y), len(primary)):
            parent = primary[born]
            self.kept.append(0)
            if parent < 0:
                self.y.append(self.height + 0.5)
                self.height += 1.0
                continue
            self._sides ^= 1
            place = self.y[parent] + (_BESIDE if self._sides else -_BESIDE)
            self.y.append(min(max(place, 0.0), self.height))
        _keep(self.kept, primary, living)


def ancestors_of(primary: Sequence[int], living: Iterable[int]) -> bytearray:
    """A byte for each birth: 1 for the living and whom they descend from by first parents."""
    kept = bytearray(len(primary))
    _keep(kept, primary, living)
    return kept


def _keep(kept: bytearray, primary: Sequence[int], living: Iterable[int]) -> None:
    for one in living:
        at = one
        while at >= 0 and not kept[at]:
            kept[at] = 1
            at = primary[at]


def arrange(primary: Sequence[int], living: Sequence[int], *, extinct: Extinct = "wedges") -> Layout:
    """A full layout of births in their order; `primary` is each one's first parent, an earlier birth, or -1.

    `living` are the births whose ancestors the collapsed tree shows. Raises ValueError for a parent that is not
    earlier than its child.
    """
    kept = ancestors_of(primary, living)
    room = _rooms(primary, kept, living, extinct)
    count = len(primary)
    # Room of the whole subtree: children come after their parents, so one pass from the end sums them up.
    whole = room[:]
    for at in range(count - 1, -1, -1):
        parent = primary[at]
        if parent >= at:
            raise ValueError(f"birth {at} must come after its parent, which is birth {parent}")
        if parent >= 0:
            whole[parent] += whole[at]
    # `free` is where the next child of each birth begins.
    y = array("f", bytes(4 * count))
    free = [0.0] * count
    end = 0.0
    for at in range(count):
        parent = primary[at]
        wide = whole[at]
        if parent < 0:
            begin = end
            end += wide
        else:
            begin = free[parent]
            free[parent] = begin + wide
        # Own room, if any, comes first: a living genome with children has a lane of its own.
        free[at] = begin + room[at]
        y[at] = begin + wide / 2
    return Layout(extinct=extinct, y=y, kept=kept, height=end, laid=count)


def _rooms(primary: Sequence[int], kept: bytearray, living: Iterable[int], extinct: Extinct) -> list[float]:
    """Height of each birth's own lane: 1 for leaves of what is kept and for the living, else its part of a wedge."""
    count = len(primary)
    childless = bytearray(b"\x01") * count
    for at, parent in enumerate(primary):
        # A kept birth is a leaf unless a child of it is kept; an extinct one, unless it has any child.
        if parent >= 0 and (kept[at] or not kept[parent]):
            childless[parent] = 0
    for one in living:
        childless[one] = 1
    if extinct == "full":
        return [float(leaf) for leaf in childless]
    room = [float(leaf and keep) for leaf, keep in zip(childless, kept, strict=True)]
    if extinct == "wedges":
        _give_wedges(room, primary, kept, childless)
    return room


def _give_wedges(room: list[float], primary: Sequence[int], kept: bytearray, childless: bytearray) -> None:
    count = len(primary)
    size, leaves, last = [0] * count, [0] * count, list(range(count))
    for at in range(count - 1, -1, -1):
        if kept[at]:
            continue
        size[at] += 1
        leaves[at] += childless[at]
        parent = primary[at]
        if parent >= 0 and not kept[parent]:
            size[parent] += size[at]
            leaves[parent] += leaves[at]
            last[parent] = max(last[parent], last[at])
    shortest = count * _SHORTEST
    part = [0.0] * count
    total = 0.0
    for at in range(count):
        if kept[at]:
            continue
        parent = primary[at]
        if parent < 0 or kept[parent]:
            # Twice the size over the length: the height of a triangle whose area is the size.
            height = 2.0 * size[at] / max(float(last[at] - at), shortest)
            total += height
            part[at] = height / leaves[at]
        else:
            part[at] = part[parent]
    if not total:
        return
    alive = sum(room)
    scale = _WEDGES * alive / total if alive else count / total
    for at in range(count):
        if childless[at] and not kept[at]:
            room[at] = part[at] * scale
