"""All findings, in the order in which the study tells them.

To add one, write its file as ``base.Finding`` describes and put a line here: tables, figures,
report, explorer and sweep read everything else from the finding itself.
"""

from __future__ import annotations

from xinc_core.util.suggest import unknown

from . import (
    bits,
    distributed,
    edges,
    faithfulness,
    faults,
    groups,
    laws,
    motion,
    objects,
    pruning,
    selectivity,
    twin,
)
from .base import Finding
from .claims import Claim

FINDINGS: tuple[Finding, ...] = (
    laws.FINDING,
    distributed.FINDING,
    edges.FINDING,
    selectivity.FINDING,
    twin.FINDING,
    objects.FINDING,
    motion.FINDING,
    groups.FINDING,
    faithfulness.FINDING,
    pruning.FINDING,
    bits.FINDING,
    faults.FINDING,
)


def finding(name: str) -> Finding:
    """The finding of this name, e.g. ``"edges"``; ValueError with the nearest one if there is
    none.
    """
    for one in FINDINGS:
        if one.name == name:
            return one
    raise ValueError(unknown("finding", name, [one.name for one in FINDINGS]))


def claims() -> dict[str, Claim]:
    """Every claim by its name, in the order of the findings."""
    return {claim.name: claim for one in FINDINGS for claim in one.claims}


def statistics() -> dict[str, str]:
    """Every measured statistic, and what it is in words."""
    words: dict[str, str] = {}
    for one in FINDINGS:
        words |= one.statistics
    return words


def captions() -> dict[str, str]:
    """Every figure of a finding by its name, and what is seen in it."""
    words: dict[str, str] = {}
    for one in FINDINGS:
        words |= one.captions
    return words


def measured_in(notebook: str) -> tuple[Finding, ...]:
    """The findings that a notebook measures, by its number, e.g. ``"05"``."""
    measured = []
    for one in FINDINGS:
        if one.notebook == notebook and (one.measure or one.measure_network):
            measured.append(one)
    return tuple(measured)
