"""The benchmark on tiny networks: everything is measured, counted and drawn; its literal
versions compute what is timed.
"""

import math

import pytest
import torch

import xinc_core as xc
from bench import drawing, growth, measuring, recipes, tracing, training
from bench.__main__ import say
from bench.goals import goals
from xinc_core import fitting
from xinc_core.clips import Clip

pytestmark = pytest.mark.slow

TINY = {
    "ffn": dict(size=(8, 16), width=4),
    "nerv": dict(size=(16, 32), n_frames=3, strides=(2, 2, 2), channels=(2, 2, 2, 2), levels=3),
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XINC_FIGURES", str(tmp_path))


@pytest.fixture(scope="module")
def layers():
    limits = dict(few=2, most=1, budget=0.0)
    return [
        row for name in TINY for row in tracing.layer_rows(name, TINY[name], 1e9, say, **limits)
    ]


def test_every_layer_rule_and_statistic_has_a_row(layers):
    want = {
        ("ffn", f"layer{n}", r, s)
        for n in (1, 2, 3)
        for r in tracing.RULES
        for s in list(measuring.STATISTICS)[:3]
    }
    names = ("block1", "block2", "block3", "head")
    want |= {
        ("nerv", name, r, s) for name in names for r in tracing.RULES for s in measuring.STATISTICS
    }
    assert {(r["family"], r["layer"], r["rule"], r["statistic"]) for r in layers} == want
    for row in layers:
        numbers = [v for v in row.values() if isinstance(v, float)]
        assert all(math.isfinite(v) and v >= 0 for v in numbers) and row["seconds"] > 0
        assert row["neurons"] == row["of"] and row["times_write"] == row["seconds"] / row["write_s"]


def test_memory_is_what_the_work_takes():
    kept = []
    assert 60 < measuring._peak(lambda: kept.append(torch.ones(16_000_000))) < 80  # 64 MB
    assert measuring._peak(lambda: None) < 5


def test_the_least_of_a_few_runs_counts_within_the_budget():
    runs = []
    assert measuring.seconds(runs.append, most=3) < 0.1 and len(runs) == 3
    assert measuring.seconds(runs.append, most=3, budget=1e-12) < 0.1 and len(runs) == 4


def test_a_sample_stands_for_a_layer():
    job = measuring.Job("nerv", TINY["nerv"], "block1", "paper", share=0.25)
    assert 0 < len(job.maps()) < job.maps().traced.layer.n_neurons


def test_growth_training_captum_goals_and_figures(layers, tmp_path):
    small = {k: v for k, v in TINY["nerv"].items() if k not in ("size", "n_frames")}
    by_size = growth.rows_by_size(say, sizes=((16, 32), (24, 32)), **small)
    by_parameters = growth.rows_by_parameters(
        say, parameters=(20_000, 40_000), size=(16, 32), layers=("block3",)
    )
    clip = Clip("tiny", torch.rand(3, 3, 16, 32, generator=torch.Generator().manual_seed(0)))
    trained = training.rows(clip, {"ffn": 3, "nerv": 2}, say, repeat=1)
    assert len(tracing.captum_rows(TINY["ffn"], say, few=1)) == 6
    assert len(by_size) == 8 and len(by_parameters) == 4 and all(row["same"] for row in trained)
    table = goals(layers, by_size, trained)
    assert len(table) == 15 and all(isinstance(row["met"], bool) for row in table)
    drawing.layers(layers), drawing.growth(by_size, by_parameters)
    drawn = {f"bench_{name}.{kind}" for name in ("layers", "growth") for kind in ("png", "svg")}
    assert {p.name for p in tmp_path.iterdir()} == drawn


def test_goals_tell_met_from_not_met(layers):
    def judged(factor):
        rows = [
            row | dict(seconds=row["seconds"] * factor, times_write=row["times_write"] * factor)
            for row in layers
        ]
        return [row["met"] for row in goals(rows, [], []) if "four partitions" not in row["goal"]]

    assert not any(judged(1e9)) and all(judged(1e-9))


def test_captum_does_the_same_job():
    model = measuring.network("ffn", TINY["ffn"])
    canvas, code = (
        xc.trace(model, rule="first_order"),
        model.encode(torch.zeros(1)).requires_grad_(),
    )
    for linear, layer in zip(model.requires_grad_(True).linears, canvas):
        for got, want in zip(
            tracing.captum_sums(model, linear, code), (layer.totals(), layer.heatmap().flatten())
        ):
            assert torch.allclose(got, want.float(), rtol=1e-4, atol=1e-5 * float(want.max()))


def test_four_partitions_are_four():
    parts = measuring.partitions((16, 32))
    assert [len(part.unique()) for part in parts] == [32] * 4 and all(
        part.shape == (16, 32) for part in parts
    )


def test_a_gpu_has_rows_where_there_is_one():
    rows = tracing.gpu_rows(TINY, say)
    assert bool(rows) == torch.cuda.is_available() and all(
        row["away_from_cpu"] < 1e-4 for row in rows
    )


def test_recipes_race_to_a_psnr_and_whole_fits_are_kept(tmp_path, monkeypatch):
    clip = Clip("tiny", xc.load_clip("shapes").frames[:1, :, :16, :32].contiguous())
    monkeypatch.setattr(recipes.xc, "load_clip", lambda name: clip)
    monkeypatch.setattr(recipes, "KEPT", tmp_path / "kept")
    case = recipes.Case("ffn", "courtyard", 20, dict(lr=4e-3, epochs=60), 2)
    table = recipes.rows(say, [case])
    assert [row["way"] for row in table] == ["fast", "paper", "adam"]
    for row in table:
        assert row["seconds"] == row["epochs"] * row["seconds_per_epoch"] > 0
    assert table[1]["seconds_to_papers_end"] <= table[1]["seconds"]
    monkeypatch.setattr(recipes, "_seconds_per_epoch", lambda case, ways: dict.fromkeys(ways, 1.0))
    monkeypatch.setattr(fitting.training, "_one_epoch", None)  # nothing is fitted again
    assert [row["psnr"] for row in recipes.rows(say, [case])] == [row["psnr"] for row in table]


def test_a_race_is_judged_in_seconds_and_times():
    def row(way, psnr, seconds, to):
        times = {f"seconds_to_{level}": to for level in ("33.3", "papers_end")}
        return dict(family="nerv", clip="bunny", way=way, psnr=psnr, seconds=seconds) | times

    won = goals([], [], [], [row("fast", 35, 100, 50), row("paper", 34, 700, 600)])
    assert [goal["met"] for goal in won] == [True] * 3 and won[1]["measured"] == 12
    lost = goals([], [], [], [row("fast", 30, 100, None), row("paper", 31, 700, None)])
    assert [goal["met"] for goal in lost] == [False] * 3
