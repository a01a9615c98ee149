"""Figures: one theme, and one file per kind of picture.

What lives here: functions that take numbers and axes and draw. What does not: measuring, and
anything that decides a verdict.
"""
