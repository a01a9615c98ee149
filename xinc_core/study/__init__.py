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

from importlib import import_module

_PLACES = {"Session": "measuring", "finding": "findings.registry", "painters": "explorer"}
_ROOMS = ("answers", "explorer", "figures", "findings", "measuring", "series", "statistics")

__all__ = ["Session", "answers", "figures", "finding", "painters"]


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES, *_ROOMS])
