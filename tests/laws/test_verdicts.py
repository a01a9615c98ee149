"""Verdicts: from measurements whose answer is known to the words of the table."""

import numpy as np
import pandas as pd
import pytest

from xinc_core.study import answers
from xinc_core.study.answers.table import (
    COLUMNS,
    findings_table,
    read_table,
    verdict_table,
    where_it_holds,
    write_table,
)
from xinc_core.study.findings.base import Finding
from xinc_core.study.findings.claims import Claim, Condition
from xinc_core.study.statistics.intervals import interval

CONDITIONS = (Condition("x", 1.0), Condition("x", "null"))


def claim(cases=None, **options):
    return Claim("edge_bias", "x is large", CONDITIONS, cases=cases or {}, **options)


def measured(values: dict, family="nerv", variant="trained", null=0.0, seeds=5):
    """Measurements: x around a value per layer, over seeds."""
    wobble = np.linspace(-0.1, 0.1, seeds)
    rows = []
    for layer, value in values.items():
        for seed in range(seeds):
            where = dict(clip="c", family=family, seed=seed, rule="paper", variant=variant)
            where |= dict(frame=0, layer=layer)
            rows.append(where | dict(statistic="x", value=value + wobble[seed]))
            rows.append(where | dict(statistic="null", value=null))
    return pd.DataFrame(rows)


def judged(table, of=None):
    """Layer → verdict."""
    finding = Finding("f", 1, "Is x large?", "", "99", {}, claims=(of or claim(),))
    rows = answers.judge(table, finding)
    rows = rows[(rows.family != "planted") & (rows.verdict != "")]
    return dict(zip(rows.layer, rows.verdict))


@pytest.mark.parametrize(
    "values, verdict",
    [
        ({"a": 2.0, "b": 3.0}, "reproduced"),
        ({"a": 2.0, "b": 0.0}, "partly"),
        ({"a": 2.0, "b": 1.0}, "partly"),
        ({"a": 0.0, "b": 0.5}, "not reproduced"),
        ({"a": 0.0, "b": 1.0}, "undecided"),
        ({"a": 1.0}, "undecided"),
    ],
)
def test_the_verdict_over_layers(values, verdict):
    assert judged(measured(values))["all"] == verdict


def test_a_missing_null_leaves_the_claim_undecided():
    table = measured({"a": 2.0})
    assert judged(table[table.statistic != "null"])["all"] == "undecided"


def test_a_clip_on_which_nothing_could_be_tried_gives_no_verdict():
    assert judged(measured({"a": 2.0}), claim({"good": True, "bad": False}))["all"] == "no verdict"


def test_one_fit_decides_nothing():
    assert judged(measured({"a": 9.0}, seeds=1)) == {"a": "undecided", "all": "undecided"}


def test_a_failed_calibration_gives_no_verdict():
    trial = measured({"good": 2.0, "bad": 0.0}, "planted")
    table = pd.concat([measured({"a": 2.0}), trial])
    assert judged(table, claim({"good": True, "bad": False}))["all"] == "reproduced"
    assert judged(table, claim({"good": True, "bad": True}))["all"] == "no verdict"
    assert judged(table, claim({"good": False, "bad": False}))["all"] == "no verdict"


def test_a_verdict_that_hangs_on_the_bias_is_undecided():
    same = pd.concat([measured({"a": 2.0}), measured({"a": 2.1}, variant="no bias")])
    other = pd.concat([measured({"a": 2.0}), measured({"a": 0.1}, variant="no bias")])
    assert judged(same)["all"] == "reproduced" and judged(other)["all"] == "undecided"


def test_what_an_untrained_network_has_too_gets_no_verdict_where_it_cannot_have_it():
    table = pd.concat(
        [measured({"a": 2.0, "b": 2.0}), measured({"a": 2.0, "b": 0.0}, variant="untrained")]
    )
    strict = claim(untrained_fails=True)
    assert judged(table, strict) == {"a": "no verdict", "b": "reproduced", "all": "partly"}
    assert judged(table) == {"a": "reproduced", "b": "reproduced", "all": "reproduced"}


def test_the_interval_is_students():
    from scipy import stats

    values = [1.0, 2.0, 4.0, 4.5]
    want = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert interval(values) == pytest.approx(want)


def verdict_rows(**verdicts_of):
    """family → its verdicts, one per clip."""
    about = dict(finding="distributed", layer="all", rule="paper")
    rows = []
    for family, verdicts in verdicts_of.items():
        for number, verdict in enumerate(verdicts):
            rows.append(about | dict(family=family, clip=f"clip {number}", verdict=verdict))
    return rows


@pytest.mark.parametrize(
    "of, want",
    [
        (dict(ffn=["reproduced", "partly"], nerv=["partly", "partly"]), "all families"),
        (dict(ffn=["reproduced", "undecided"], nerv=["partly", "partly"]), "nerv"),
        (dict(ffn=["not reproduced"] * 2, nerv=["not reproduced"] * 2), "none"),
        (dict(ffn=["not reproduced"] * 2, nerv=["not reproduced", "undecided"]), "undecided"),
        (dict(nerv=["reproduced"]), "nerv"),
    ],
)
def test_where_a_finding_holds_is_read_off_the_verdicts(of, want):
    assert where_it_holds(findings_table(verdict_rows(**of))) == {("distributed", "paper"): want}


def test_the_table_of_verdicts_has_both_rules_in_a_cell():
    rows = verdict_rows(ffn=["reproduced"], nerv=["partly"])
    rows += [row | dict(rule="first_order", verdict="partly") for row in rows]
    assert (
        verdict_table(findings_table(rows)).splitlines()[2]
        == "| the representation is distributed | clip 0 | reproduced / partly | partly |"
    )


def test_a_table_that_is_written_and_read_is_the_same(tmp_path):
    fits = pd.concat([measured({"a": 2.0, "b": 1.0}), measured({"good": 2.0}, "planted")])
    table = answers.judge(fits, Finding("f", 1, "?", "", "99", {}, claims=(claim({"good": True}),)))
    assert list(table.columns) == list(COLUMNS)
    assert {type(value) for value in table.holds} <= {bool, type(None)}
    assert table.value.dtype == float and table.low.isna().any()
    write_table(tmp_path / "a.csv", table)
    again = read_table(tmp_path / "a.csv")
    write_table(tmp_path / "b.csv", again)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    pd.testing.assert_frame_equal(again, table, rtol=1e-3)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (dict(verdict="perhaps"), "verdicts are"),
        (dict(finding="gossip"), "gossip"),
        (dict(statistic="mood"), "mood"),
    ],
)
def test_what_is_in_no_list_is_refused(wrong, said, tmp_path, monkeypatch):
    monkeypatch.setenv("XINC_FIGURES", str(tmp_path))
    row = dict(finding="edge_bias", layer="a", rule="paper", clip="c", statistic="partial_edges")
    answers.save_findings("99", [row | dict(value=0.5, verdict="")])
    with pytest.raises(ValueError, match=said):
        answers.save_findings("99", [row | wrong])
    assert len(answers.read_findings(tmp_path)) == 1
