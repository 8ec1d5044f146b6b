"""The lab: a small network that trains in a process of its own, `python -P -m evaluator.lab`, and is watched.

Only messages are named here, so that whoever talks to the lab loads no kernels.
"""

from evaluator.lab.messages import (
    MOST_LINE_BYTES,
    Ended,
    Frame,
    Landscape,
    Order,
    Pace,
    Point,
    Report,
    Restart,
    Set,
    Settings,
    Told,
    Trace,
    decode_order,
    decode_report,
    line_of,
)

__all__ = [
    "MOST_LINE_BYTES",
    "Ended",
    "Frame",
    "Landscape",
    "Order",
    "Pace",
    "Point",
    "Report",
    "Restart",
    "Set",
    "Settings",
    "Told",
    "Trace",
    "decode_order",
    "decode_report",
    "line_of",
]
