"""From measurements to verdicts: intervals over fits, conditions per layer, calibration. METHOD
section 12.

The measurements are a long table (pandas) with the columns ``KEYS`` and statistic, value. The unit
is a fit: frames are averaged first, and intervals are Student's t over seeds. A condition holds
where its interval lies wholly on the right side.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import numpy as np
import pandas as pd

from xinc_core.study.findings.claims import PLANTED, Claim
from xinc_core.study.statistics.intervals import interval

KEYS = ["clip", "family", "seed", "rule", "variant", "frame", "layer"]


def per_fit(table: pd.DataFrame, variant: str = "trained") -> pd.DataFrame:
    """Means over frames: one row per layer and seed, a column per statistic; the untrained
    network's as ``untrained_…``, without biases too where that was measured.

    A table with a column ``video`` is averaged on, over the seeds of each video: videos then take
    the place of seeds.
    """
    bare = f"untrained {variant}"
    untrained = bare if (table.variant == bare).any() else "untrained"

    def means(which):
        part, units = (
            table[(table.variant == which) & table.value.notna()],
            [u for u in ("video", "seed") if u in table],
        )
        found = (
            part.groupby(["layer", *units, "statistic"], sort=False)["value"]
            .mean()
            .unstack("statistic", sort=False)
        )
        if len(units) == 1 or found.empty:
            return found
        return (
            found.groupby(level=["layer", "video"], sort=False)
            .mean()
            .rename_axis(["layer", "seed"])
        )

    return means(variant).join(means(untrained).add_prefix("untrained_"))


def calibrated(table: pd.DataFrame, claim: Claim, expected: dict[str, bool]) -> pd.DataFrame:
    """The claim on planted maps: one row per case with what must come out, what does, and whether
    that is right.

    A positive must hold; a negative must not (it may stay undecided).
    """
    fits, rows = per_fit(table[table.family == PLANTED]), []
    for case, want in expected.items():
        if case not in fits.index:  # it takes masks that this clip does not have
            continue
        state = claim.state(fits.loc[[case]], planted=True)
        rows.append(
            dict(
                case=case,
                expected=want,
                holds=state,
                right=state is True if want else state is not True,
            )
        )
    return pd.DataFrame(rows, columns=["case", "expected", "holds", "right"])


def judge(table: pd.DataFrame, *findings: ModuleType) -> list[dict]:
    """Rows of the findings table for all claims of these findings: per clip the calibration; per
    family and rule every layer's statistics and the verdict. A claim that needs what a clip does
    not have (masks, frames) gets no rows there."""
    rows = []
    for clip, here in table.groupby("clip", sort=False):
        for finding in findings:
            for claim in finding.CLAIMS:
                cases = finding.CASES.get(claim.finding, {})
                trials = calibrated(here, claim, cases)
                sound = bool(trials.right.all()) and (len(trials) > 0 or not cases)
                networks = here[here.family != PLANTED].groupby(["family", "rule"], sort=False)
                judged = [
                    row
                    for (family, rule), part in networks
                    for row in _judged(claim, part, clip, family, rule, sound)
                ]
                for _, trial in trials.iterrows() if judged else ():
                    about = dict(
                        statistic="calibration", value=float(trial.expected), holds=trial.holds
                    )
                    rows.append(_row(claim, PLANTED, trial.case, "all", clip, **about))
                rows += judged
    return rows


def _judged(
    claim: Claim, table: pd.DataFrame, clip: str, family: str, rule: str, sound: bool
) -> list[dict]:
    table = table[table.statistic.isin([s.removeprefix("untrained_") for s in claim.statistics])]
    fits = per_fit(table)
    if not any(c.applies(fits) for c in claim.conditions):
        return []
    untrained = per_fit(table, "untrained") if claim.untrained_fails else fits[:0]
    with_bias, without = _with_and_without_bias(table)
    rows, states = [], {}
    for layer, here in fits.groupby("layer", sort=False):
        word = ""
        here = {
            name: values.to_numpy() for name, values in here.items()
        }  # which takes a fifth of a frame's time to ask
        if any(c.applies(here) for c in claim.conditions):
            state = (
                claim.state(here)
                if _state(claim, with_bias, layer) == _state(claim, without, layer)
                else None
            )
            passes = _state(claim, untrained, layer) is True
            word = _word([state], sound and not passes)
            states[layer] = (state, passes)
        for name in dict.fromkeys(
            [*claim.statistics, *(f"untrained_{s}" for s in claim.statistics)]
        ):
            values = here.get(name, np.empty(0))
            if len(values := values[~np.isnan(values)]):
                low, high = interval(values)
                conditions = [
                    c for c in claim.conditions if c.statistic == name and c.applies(here)
                ]
                held = _all(c.state(here) for c in conditions) if conditions else ""
                rows.append(
                    _row(
                        claim,
                        family,
                        layer,
                        rule,
                        clip,
                        statistic=name,
                        value=values.mean(),
                        low=low,
                        high=high,
                        n_units=len(values),
                        holds=held,
                        verdict=word if conditions else "",
                    )
                )
    counted = [state for state, passes in states.values() if not passes]
    share = sum(state is True for state in counted) / len(states)
    verdict = _word(counted, sound)
    if verdict == "reproduced" and len(counted) < len(states):
        verdict = "partly"  # not in every layer: some have none
    seeds = fits.index.get_level_values("seed").nunique()
    rows.append(
        _row(
            claim,
            family,
            "all",
            rule,
            clip,
            statistic="layers_where_it_holds",
            value=share,
            n_units=seeds,
            holds=_all(counted),
            verdict=verdict,
        )
    )
    return rows


def _state(claim: Claim, fits: pd.DataFrame, layer: str) -> bool | None:
    return claim.state(fits.loc[[layer]]) if layer in fits.index else None


def _with_and_without_bias(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``per_fit`` with the shares of biases and without, on the frames measured both ways: a layer
    whose state changes with this convention is undecided."""
    bare = table[table.variant == "no bias"]
    same = table.merge(
        bare[[k for k in ("layer", "video", "seed", "frame") if k in table]].drop_duplicates()
    )
    return per_fit(same), per_fit(same, "no bias")


def _word(states: list[bool | None], sound: bool) -> str:
    """The verdict over layers."""
    if not sound or not states:
        return "no verdict"
    if all(s is True for s in states):
        return "reproduced"
    if any(s is True for s in states):
        return "partly"
    return "not reproduced" if all(s is False for s in states) else "undecided"


def _all(states: Iterable[bool | None]) -> bool | str:
    states = list(states)
    return False if False in states else "" if None in states or not states else True


def _row(claim: Claim, family: str, layer: str, rule: str, clip: str, **rest) -> dict:
    clean = {
        k: "" if v is None or isinstance(v, float) and np.isnan(v) else v for k, v in rest.items()
    }
    clean |= {
        k: 0.0 for k, v in clean.items() if isinstance(v, float) and abs(v) < 1e-12
    }  # rounding noise
    return (
        dict(finding=claim.finding, family=family, layer=layer, rule=rule, clip=clip, seed="all")
        | clean
    )
