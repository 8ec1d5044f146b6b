"""A calibration that this machine seems to have: what a search does with one does not depend on what was measured."""

from pathlib import Path

import msgspec

from evaluator import calibration
from node.settings import calibration_path
from tests.support.jobs import CALIBRATION

__all__ = ["keep_calibration"]


def keep_calibration(state: Path) -> None:
    """Leave a calibration of fp32 in a state folder that has none, so that nothing is measured there."""
    path = calibration_path({"EQMESH_STATE_DIR": str(state)})
    if not path.exists():
        calibration.save(path, msgspec.structs.replace(CALIBRATION, machine=calibration.machine()))
