"""The commands of `eqmesh`, one file a noun; loaded when they are called."""
