"""The explorer: sliders over layers, frames and neurons.

What lives here: thin widgets around functions of plain values, which the static figures call too.
What does not: mathematics; nothing else in the package imports ipywidgets.
"""
