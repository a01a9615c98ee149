"""Measuring: which units there are, computing them side by side, storing what was measured.

What lives here: units and their keys, the jobs, the results on disk. What does not: what is
measured on a unit, which is the finding's.
"""
