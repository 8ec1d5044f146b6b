"""The version, and the ancestor of every exception that eqmesh raises. Pure."""

__all__ = ["EqmeshError", "__version__"]

__version__ = "0.1.0"


class EqmeshError(Exception):
    """Base of all errors that eqmesh raises on purpose; the message says what to do."""
