"""Backends: the float64 arbiter and what is held against it."""
