"""The explorer and the findings' browsers: sliders over layers, frames and neurons.

What lives here: thin widgets around functions of plain values. What the browsers show is said in
the findings.
What does not: mathematics; nothing else in the package imports ipywidgets.
"""

from .browsers import VIEWS, Browser, browse
from .explorer import Explorer, explore, painters

__all__ = ["VIEWS", "Browser", "Explorer", "browse", "explore", "painters"]
