"""The study: from maps to answers, figures, notebooks and reports.

What lives here: statistics, findings, answers, measuring, figures, the explorer and the series, in
the order in which they import each other. What does not: anything that tracing one network needs.
"""
