"""Joining and seeding a network. Empty until there is a mesh to join."""
