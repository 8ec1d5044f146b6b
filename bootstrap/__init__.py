"""The commands that make this machine a peer of a mesh, and whom a node calls first."""
