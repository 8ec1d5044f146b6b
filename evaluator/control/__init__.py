"""Control: a pole balanced by a network whose credit is Equilibrium Propagation, beside backpropagation and chance.

`process` holds what crosses the pipe, for a parent that must not load torch; `experiment` is what the child runs.
"""

from evaluator.control.settings import CREDITS, CartPoleSettings, Credit
from evaluator.control.summaries import Point, Run, Summary

__all__ = ["CREDITS", "CartPoleSettings", "Credit", "Point", "Run", "Summary"]
