"""The general learner: every rule of the family on every kind of connection, written for breadth.

The engine (`kernels.engine`) is the fast way of the five plain estimates on dense layers. What it does not do is done
here, behind two seams: an `Estimator` forms a rule's update from the states of two layers, a `Coupling` carries states
along one connection.
"""
