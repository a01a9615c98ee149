"""The report of a study: one HTML page that holds everything it shows and asks for nothing.

What lives here: the page, its words, tables, pictures and player. What does not: verdicts and
figures, which are made before and only shown here.
"""

from .page import MOST, write_report

__all__ = ["MOST", "write_report"]
