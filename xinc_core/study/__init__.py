"""The study: from maps to answers, figures, notebooks and reports.

What lives here: statistics, findings, answers, measuring, figures, the explorer and the series, in
the order in which they import each other. What does not: anything that tracing one network needs.

Notebooks take all they need from here::

    from xinc_core import study

    session = study.Session()                  # the study's place and memory
    edges = study.finding("edges")             # what is asked
    table = session.measure(edges, clips, families, seeds, rules)
    rows = study.answers.save_findings("04", study.answers.judge(table, edges))
    fig = study.figures.save(study.figures.judged(rows, edges.claims[0], "courtyard"), "04_edges")

Each name is imported when it is first asked for, so that importing a room stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xinc_core.util.lazy import lazy_names

if TYPE_CHECKING:  # the same names, for type checkers and editors; a test holds the two equal
    from .explorer import painters as painters
    from .findings.registry import finding as finding
    from .measuring import Session as Session

PLACES = {"Session": "measuring", "finding": "findings.registry", "painters": "explorer"}
ROOMS = ("answers", "explorer", "figures", "findings", "measuring", "series", "statistics")

__all__ = [*PLACES, "answers", "figures"]
__getattr__, __dir__ = lazy_names(__name__, PLACES, ROOMS)
