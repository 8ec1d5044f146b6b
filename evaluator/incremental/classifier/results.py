"""Where the result of a classifier's run came from."""

import hashlib
from pathlib import Path

import msgspec

from evaluator.incremental.checkpoint import CheckpointError
from evaluator.incremental.classifier.messages import ClassifierResult
from evaluator.incremental.classifier.settings import ClassifierSettings
from evaluator.incremental.data import Access

__all__ = ["ClassifierManifest", "read_manifest"]


class ClassifierManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Where a result came from: settings, seed, data, versions, files by their SHA-256, every reading of train data.

    `threshold` is the cost beyond which a sample is an outlier.
    """

    run: str
    result: ClassifierResult
    settings: ClassifierSettings
    settings_sha256: str
    data: str
    data_sha256: str
    order: tuple[tuple[int, ...], ...]
    threshold: float
    files: dict[str, str]
    versions: dict[str, str]
    accesses: tuple[Access, ...]


def read_manifest(folder: Path) -> ClassifierManifest:
    """The manifest of a finished run; raises CheckpointError where it is none, or a file is not the one it names."""
    path = folder / "manifest.json"
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=ClassifierManifest)
        found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest.files}
    except (msgspec.MsgspecError, OSError) as error:
        raise CheckpointError(
            f"{path} is no manifest with its files: {error}. Remove it to run again."
        ) from error
    changed = sorted(name for name, sha256 in found.items() if sha256 != manifest.files[name])
    if changed or manifest.settings.sha256 != manifest.settings_sha256:
        what = ", ".join(changed) or "the settings"
        raise CheckpointError(
            f"{what} in {folder} changed after the run. Remove manifest.json to write the files again."
        )
    return manifest
