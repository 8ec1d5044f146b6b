"""Data sets by name and checksum: listed, fetched, verified, read."""

from evaluator.tasks.data.catalogue import CATALOGUE
from evaluator.tasks.data.fetching import Fetched, fetch
from evaluator.tasks.data.folder import cache_folder
from evaluator.tasks.data.lookup import DatasetRow, FileState, list_datasets, read_file, require, verify

__all__ = [
    "CATALOGUE",
    "DatasetRow",
    "Fetched",
    "FileState",
    "cache_folder",
    "fetch",
    "list_datasets",
    "read_file",
    "require",
    "verify",
]
