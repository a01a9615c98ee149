"""Statistics that more than one finding uses.

What lives here: ranks, partitions, explained variance, surrogates, intervals; arrays in, numbers
out. What does not: what a finding asks, and files.
"""
