"""Probes: questions to one network that a score does not answer. `registry` lists them and runs them by name.

A probe changes nothing, draws all chance from the seed that it is given, computes in float64 and returns a struct
that msgspec writes as JSON. No probe loads torch.
"""
