"""Backends: the float64 arbiter, what is held against it, and what a machine is asked before one is chosen."""
