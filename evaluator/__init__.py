"""One genome in, one outcome out, in another process that may die.

`jobs` holds what crosses the pipe, `pool` the parent, `worker` the child. Import from the modules:
parent and child must not load each other's libraries.
"""
