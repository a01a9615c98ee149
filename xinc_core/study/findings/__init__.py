"""Findings: what is measured and what is drawn, one file each.

What lives here: for every claim and use, how it is measured on one network, and the planted maps
on which its statistic is tried. What does not: where results are stored, and how figures look.
"""
