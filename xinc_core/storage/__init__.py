"""Networks on disk, and back.

What lives here: the plain file (``plain``), the file that the authors published (``published``),
the compressed file (``compressed``). What does not: what a network computes.
"""
