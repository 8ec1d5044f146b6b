"""A network in a box: real nodes on a network in memory, under a virtual clock, with liars among them."""

from node.simulate.box import simulate
from node.simulate.setup import ATTACKS, Attack, Setup
from node.simulate.watch import Findings

__all__ = ["ATTACKS", "Attack", "Findings", "Setup", "simulate"]
