"""From measurements to verdicts: intervals over fits, conditions per layer, calibration.

METHOD 4, earlier form.

The measurements are a long table with the columns clip, family, seed, rule, variant, frame, layer,
statistic, value. The unit is a fit: frames are averaged first, and intervals are Student's t over
seeds. A condition holds where its interval lies wholly on the right side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from xinc_core.study.findings.base import Finding
from xinc_core.study.findings.claims import PLANTED, UNTRAINED, Claim, Condition, Fits
from xinc_core.study.statistics.intervals import interval

from .table import ALL_LAYERS, ALL_SEEDS, CALIBRATION, LAYERS_WHERE_IT_HOLDS, findings_table

State = bool | None  # holds, does not hold, undecided
ROUNDING = 1e-12  # values below it are rounding noise


def per_fit(table: pd.DataFrame, variant: str = "trained") -> pd.DataFrame:
    """Means over frames: one row per layer and seed, a column per statistic; the untrained
    network's as ``untrained_…``, without biases too where that was measured.

    A table with a column ``video`` is averaged on, over the seeds of each video: videos then take
    the place of seeds.
    """
    without_bias = f"untrained {variant}"
    has_own_control = (table.variant == without_bias).any()
    control = without_bias if has_own_control else "untrained"
    trained = _means_over_frames(table, variant)
    return trained.join(_means_over_frames(table, control).add_prefix(UNTRAINED))


def _means_over_frames(table: pd.DataFrame, variant: str) -> pd.DataFrame:
    """(layer, seed) or (layer, video) down, statistics across."""
    part = table[(table.variant == variant) & table.value.notna()]
    units = [unit for unit in ("video", "seed") if unit in table]
    by_unit = part.groupby(["layer", *units, "statistic"], sort=False)["value"].mean()
    means = by_unit.unstack("statistic", sort=False)
    if "video" not in units or means.empty:
        return means
    over_seeds = means.groupby(level=["layer", "video"], sort=False).mean()
    return over_seeds.rename_axis(["layer", "seed"])


def calibrated(table: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The claim on planted maps: one row per case with what must come out (``expected``), what does
    (``holds``), and whether that is ``right``.

    A positive must hold; a negative must not (it may stay undecided).
    """
    fits = per_fit(table[table.family == PLANTED])
    rows = []
    for case, expected in claim.cases.items():
        if case not in fits.index:  # it takes masks that this clip does not have
            continue
        state = claim.state(fits.loc[[case]], planted=True)
        right = state is True if expected else state is not True
        rows.append(dict(case=case, expected=expected, holds=state, right=right))
    return pd.DataFrame(rows, columns=["case", "expected", "holds", "right"])


def judge(table: pd.DataFrame, findings: Finding | Sequence[Finding]) -> pd.DataFrame:
    """The findings table of all claims of these findings.

    Per clip the calibration; per family and rule every layer's statistics and the verdict. A claim
    that needs what a clip does not have (masks, frames) gets no rows there.
    """
    findings = [findings] if isinstance(findings, Finding) else findings
    rows = []
    for clip, of_clip in table.groupby("clip", sort=False):
        for finding in findings:
            for claim in finding.claims:
                rows += _of_claim(claim, of_clip, str(clip))
    return findings_table(rows)


def _of_claim(claim: Claim, table: pd.DataFrame, clip: str) -> list[dict]:
    """The rows of one claim on one clip, calibration first."""
    trials = calibrated(table, claim)
    tried = len(trials) > 0 or not claim.cases
    sound = bool(trials.right.all()) and tried
    networks = table[table.family != PLANTED]
    judged = []
    for (family, rule), part in networks.groupby(["family", "rule"], sort=False):
        judged += _judged(claim, part, clip, family, rule, sound)
    if not judged:
        return []
    rows = []
    for trial in trials.itertuples():
        about = dict(statistic=CALIBRATION, value=float(trial.expected), holds=trial.holds)
        rows.append(_row(claim, PLANTED, trial.case, "all", clip, **about))
    return rows + judged


def _judged(
    claim: Claim, table: pd.DataFrame, clip: str, family: str, rule: str, sound: bool
) -> list[dict]:
    """The rows of one claim for one family and rule: its layers, then all layers together."""
    wanted = [name.removeprefix(UNTRAINED) for name in claim.statistics]
    table = table[table.statistic.isin(wanted)]
    fits = per_fit(table)
    if not any(condition.applies(fits) for condition in claim.conditions):
        return []
    untrained = per_fit(table, "untrained") if claim.untrained_fails else fits[:0]
    with_bias, without_bias = _with_and_without_bias(table)
    rows = []
    states: dict[str, State] = {}
    passing_untrained: set[str] = set()  # layers in which an untrained network has it too
    for layer, of_layer in fits.groupby("layer", sort=False):
        columns = {name: values.to_numpy() for name, values in of_layer.items()}
        verdict = ""
        if any(condition.applies(columns) for condition in claim.conditions):
            depends_on_bias = _state(claim, with_bias, layer) != _state(claim, without_bias, layer)
            states[layer] = None if depends_on_bias else claim.state(columns)
            if _state(claim, untrained, layer) is True:
                passing_untrained.add(layer)
            verdict = _word([states[layer]], sound and layer not in passing_untrained)
        rows += _rows_of_layer(claim, columns, verdict, family, str(layer), rule, clip)
    judged_layers = [state for layer, state in states.items() if layer not in passing_untrained]
    verdict = _word(judged_layers, sound)
    if verdict == "reproduced" and passing_untrained:
        verdict = "partly"  # not in every layer: some have none
    holding = [state for state in judged_layers if state is True]
    whole = dict(
        statistic=LAYERS_WHERE_IT_HOLDS,
        value=len(holding) / len(states),
        n_units=fits.index.get_level_values("seed").nunique(),
        holds=_all(judged_layers),
        verdict=verdict,
    )
    return [*rows, _row(claim, family, ALL_LAYERS, rule, clip, **whole)]


def _rows_of_layer(
    claim: Claim,
    columns: dict[str, np.ndarray],
    verdict: str,
    family: str,
    layer: str,
    rule: str,
    clip: str,
) -> list[dict]:
    """A row per statistic of the claim that was measured in this layer."""
    named = claim.statistics
    of_untrained = [f"{UNTRAINED}{name}" for name in named]
    rows = []
    for name in dict.fromkeys([*named, *of_untrained]):
        values = columns.get(name, np.empty(0))
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        low, high = interval(values)
        conditions = _conditions_on(claim, name, columns)
        about = dict(
            statistic=name,
            value=values.mean(),
            low=low,
            high=high,
            n_units=len(values),
            holds=_all(condition.state(columns) for condition in conditions),
            verdict=verdict if conditions else "",
        )
        rows.append(_row(claim, family, layer, rule, clip, **about))
    return rows


def _conditions_on(claim: Claim, statistic: str, fits: Fits) -> list[Condition]:
    """The claim's conditions on this statistic that apply here."""
    found = []
    for condition in claim.conditions:
        if condition.statistic == statistic and condition.applies(fits):
            found.append(condition)
    return found


def _state(claim: Claim, fits: pd.DataFrame, layer: str) -> State:
    return claim.state(fits.loc[[layer]]) if layer in fits.index else None


def _with_and_without_bias(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``per_fit`` with the shares of biases and without, on the frames measured both ways: a layer
    whose state changes with this convention is undecided.
    """
    without_bias = table[table.variant == "no bias"]
    keys = [key for key in ("layer", "video", "seed", "frame") if key in table]
    both_ways = table.merge(without_bias[keys].drop_duplicates())
    return per_fit(both_ways), per_fit(both_ways, "no bias")


def _word(states: list[State], sound: bool) -> str:
    """The verdict over layers."""
    if not sound or not states:
        return "no verdict"
    if all(state is True for state in states):
        return "reproduced"
    if any(state is True for state in states):
        return "partly"
    if all(state is False for state in states):
        return "not reproduced"
    return "undecided"


def _all(states: Iterable[State]) -> State:
    """False if one of them fails; None if one is undecided, or there is none."""
    states = list(states)
    if False in states:
        return False
    return None if None in states or not states else True


def _row(claim: Claim, family: str, layer: str, rule: str, clip: str, **rest) -> dict:
    """A row of the findings table, without rounding noise."""
    for name, value in rest.items():
        if isinstance(value, float) and abs(value) < ROUNDING:
            rest[name] = 0.0
    where = dict(finding=claim.name, family=family, layer=layer, rule=rule, clip=clip)
    return where | dict(seed=ALL_SEEDS) | rest
