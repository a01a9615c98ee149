"""Contribution tracing: which neuron paints which pixel of one frame.

What lives here: ``trace``, ``Canvas``, ``LayerMaps``, sums over regions, and the rules that define
a contribution (METHOD 2 and METHOD 3). What does not: what is concluded from the maps, which is
the study's.
"""
