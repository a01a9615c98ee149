"""Networks changed through their canvas.

What lives here: which neurons can go, fewer bits, and the smaller file that results. What does
not: the curves and tables that a study draws of it.
"""
