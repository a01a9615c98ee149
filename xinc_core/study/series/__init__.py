"""The notebook series: run headless, on your own clip, and over many clips.

What lives here: the list of notebooks, a study's plan and its carrying out, the report, the sweep.
What does not: words of the command line, and what the notebooks compute.
"""
