"""Every finding on planted maps and on hand-made networks where its answer is known; verdicts;
stored results.
"""

import json
import types

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Chain
from torch import nn

import xinc_core as xc
from xinc_core.editing import sampling
from xinc_core.models import identity
from xinc_core.study.answers import verdicts
from xinc_core.study.answers.table import verdict_table, where_it_holds
from xinc_core.study.figures import charts
from xinc_core.study.findings import (
    bits,
    distributed,
    edges,
    faithfulness,
    faults,
    groups,
    motion,
    objects,
    pruning,
    selectivity,
    twin,
)
from xinc_core.study.findings.claims import Claim, Condition
from xinc_core.study.findings.planted import painted_by, planted, white
from xinc_core.study.measuring import results, store
from xinc_core.study.statistics import intervals
from xinc_core.study.statistics.scene import Scene, View, pairs
from xinc_core.util import paths

FINDINGS = (distributed, edges, selectivity, objects, motion, groups)


@pytest.fixture(autouse=True)
def _stored_elsewhere(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XINC_RESULTS", str(tmp_path_factory.getbasetemp() / "results"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(xc.load_clip("shapes"))


def claims():
    return [
        pytest.param(f, c, id=c.finding)
        for f in FINDINGS
        for c in f.CLAIMS
        if c.finding != "distributed_learned"
    ]


@pytest.mark.parametrize("finding, claim", claims())
def test_the_calibration_comes_out_right(finding, claim):
    """Planted maps through the code that judges the networks; on the drawn scene, whose masks are
    exact.

    Motion is tried on a real clip: where nothing but motion changes the picture, the two cannot be
    told apart.
    """
    needed = {selectivity: [selectivity, twin]}.get(finding, [finding])
    clip = xc.load_clip("courtyard" if finding is motion else "shapes")
    table = results.measure(needed, clip, [], [], [], progress=False)
    trials = verdicts.calibrated(table, claim, finding.CASES[claim.finding])
    assert trials.expected.any() and not trials.expected.all(), "a positive and a negative"
    assert trials.right.all(), trials


def test_a_drawn_scene_cannot_tell_motion_from_change_and_so_gives_no_verdict():
    table = results.measure(motion, xc.load_clip("shapes"), [], [], [], progress=False)
    trials = verdicts.calibrated(table, motion.CLAIMS[0], motion.CASES["motion_dominates"])
    assert not trials.right.all()


# Hand-made networks, through trace
# -------------------------------------------------------------------------------------


class Painting(Chain):
    """A network whose first layer's columns are given maps, frame by frame: its neurons paint
    what we say.
    """

    for_video = True

    def __init__(self, maps):  # (T, n, H, W)
        n = maps.shape[1]
        super().__init__(
            (1, 1), (n, 3, 3), (1, 1), (1, 1), (identity, identity), neurons="columns", bias=False
        )
        self.maps, self.config = maps, types.SimpleNamespace(n_frames=len(maps))
        for conv in self.convs:
            conv.weight = nn.Parameter(torch.full_like(conv.weight, 0.5))

    def stem(self, code):
        return self.maps[int((code * len(self.maps)).round())][None]


def state(finding, claim, paintings, frame, rule, scene):
    """The claim on several hand-made networks, as fits with different seeds."""
    rows, found = [], []
    for seed, maps in enumerate(paintings):
        canvases = [xc.trace(Painting(maps), frame + o, rule) for o in finding.OFFSETS]
        layers = tuple(canvas["l1"] for canvas in canvases)
        found.append(
            (seed, finding.measure(View(layers, tuple(c.image for c in canvases), scene, frame)))
        )
    if finding is groups:
        across = groups.across(dict(found))
        found += [(seed, across[str(seed)]) for seed, _ in found]
    for seed, values in found:
        about = dict(
            clip="shapes",
            family="x",
            seed=seed,
            rule=rule,
            variant="trained",
            frame=frame,
            layer="l1",
        )
        rows += [
            about | dict(statistic=k, value=v) for k, v in values.items() if isinstance(v, float)
        ]
    return claim.state(verdicts.per_fit(pd.DataFrame(rows)), planted=True)


def still(make, seeds=3, frames=24):
    """One painting per seed, the same at all frames."""
    return [make(seed)[None].float().expand(frames, -1, -1, -1) for seed in range(seeds)]


def moving(make, seeds=3, frames=24):
    return [torch.stack([make(seed, t) for t in range(frames)]).float() for seed in range(seeds)]


T = 8


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_distributed_through_trace(scene, rule):
    claim, size = distributed.CLAIMS[0], scene.clip.size
    everywhere = still(lambda s: 0.5 + white(40, size, s))
    alone = still(lambda s: painted_by(scene.labels("grid", T), 40, s, 0) ** 60)
    assert state(distributed, claim, everywhere, T, rule, scene) is True
    assert state(distributed, claim, alone, T, rule, scene) is False


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_an_edge_bias_through_trace(scene, rule):
    (claim,) = edges.CLAIMS
    outlines = still(lambda s: scene.edges(T) + 0.1 * white(20, scene.clip.size, s))
    bright = still(lambda s: scene.light(T) + 0.1 * white(20, scene.clip.size, s))
    assert state(edges, claim, outlines, T, rule, scene) is True
    assert state(edges, claim, bright, T, rule, scene) is not True


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_neurons_that_paint_cells_or_colours_through_trace(scene, rule):
    over, agnostic = selectivity.CLAIMS
    cells = still(lambda s: painted_by(scene.labels("grid", T), 40, s))
    colours = still(
        lambda s: (
            painted_by(scene.labels("RGB", T), 40, s)
            + painted_by(scene.labels("Gabor (paper)", T), 40, s + 9)
        )
    )
    both = [3 * a + b for a, b in zip(cells, colours)]  # place above all, but colour too
    assert state(selectivity, over, cells, T, rule, scene) is False
    assert state(selectivity, agnostic, cells, T, rule, scene) is not True
    assert state(selectivity, agnostic, both, T, rule, scene) is False
    for claim in (over, agnostic):
        assert state(selectivity, claim, colours, T, rule, scene) is True, claim.finding


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_neurons_that_follow_one_object_through_trace(scene, rule):
    (claim,) = objects.CLAIMS
    things = scene.partitions["instances"].labels

    def follower(seed, t):
        mine = (things[t] == (1 + torch.arange(40) % 4)[:, None, None]).float()
        return mine + 0.3 * white(40, scene.clip.size, seed + 10 * t)

    def colourist(seed, t):
        parts = (scene.partitions[name].labels[t] for name in ("RGB", "Gabor", "Gabor (paper)"))
        return sum(painted_by(labels, 40, seed + 9 * i) for i, labels in enumerate(parts))

    assert state(objects, claim, moving(follower), T, rule, scene) is False
    assert state(objects, claim, moving(colourist), T, rule, scene) is True


def test_an_image_network_is_asked_about_objects_too_but_not_whether_it_follows_them(scene):
    units = list(results.units_of(objects, scene.clip, ["ffn"], [1], ["paper"]))
    assert [u.variant for u in units] == ["trained", "untrained", "no bias"]
    for values in results.compute(objects, scene.clip, units[0]).values():
        assert set(values) == {"instances_last", "planted_instances_last", "null_instances_last"}


def test_a_video_too_short_to_follow_anything_is_still_asked_about_objects(scene):
    short = scene.clip[:4]
    (first, *_) = results.trials_of(objects, short)
    found = results.compute(objects, short, first)
    assert {tuple(values) for values in found.values()} == {
        ("instances_last", "planted_instances_last", "null_instances_last")
    }
    cases = {case: values["instances_last"] for case, values in found.items()}
    assert cases["one object each"] > 10 * abs(cases["colour and texture"])


@pytest.fixture(scope="module")
def real():
    return Scene(xc.load_clip("courtyard"))


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_maps_that_move_and_maps_frozen_in_time_through_trace(real, rule):
    (claim,), size = motion.CLAIMS, real.clip.size
    flow, opposed = (
        real.flow(9) / real.flow(9).max(),
        torch.tensor([1.0, -1.0]).repeat(8)[:, None, None],
    )

    def mover(seed, t):  # neurons in pairs that cancel: they move, the picture does not
        return (
            1 + white(16, size, seed) + opposed * (t % 2) * flow + 0.1 * white(16, size, seed + t)
        )

    still_there = still(lambda s: white(16, size, s) + real.edges(9), frames=40)
    flicker = moving(lambda s, t: white(16, size, s + 50 * t), frames=40)
    assert state(motion, claim, moving(mover, frames=40), 9, rule, real) is True
    assert state(motion, claim, still_there, 9, rule, real) is not True
    assert state(motion, claim, flicker, 9, rule, real) is not True


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_a_seed_copied_and_permuted_mixes_and_strangers_do_not(scene, rule):
    (claim,), labels = groups.CLAIMS, scene.labels("RGB", T)
    kinds = torch.rand(6, 32, generator=torch.Generator().manual_seed(0))[torch.arange(180) % 6]
    kinds = kinds + 0.05 * torch.randn(180, 32, generator=torch.Generator().manual_seed(1))
    copied = still(
        lambda s: kinds[torch.randperm(180, generator=torch.Generator().manual_seed(s))][
            :, labels
        ].abs()
    )
    strangers = still(
        lambda s: (
            painted_by(labels, 6, 77 * s, 0).repeat(30, 1, 1) + 0.1 * white(180, labels.shape, s)
        )
    )
    assert state(groups, claim, copied, T, rule, scene) is True
    assert state(groups, claim, strangers, T, rule, scene) is not True


def test_a_permuted_copy_is_matched_perfectly():
    profiles = torch.rand(60, 32, generator=torch.Generator().manual_seed(0)).numpy()
    found = groups.across({1: dict(profiles=profiles), 2: dict(profiles=profiles[::-1])})
    assert found["1"]["best_match"] == pytest.approx(1) and found["1"]["null_best_match"] < 0.9
    assert found["1"]["mixing"] > 0.9
    apart = groups.mixing({1: profiles, 2: profiles + 5})
    assert apart[1] < 0.01 and apart[2] < 0.01


def test_the_twin_tells_content_from_position(scene):
    for case, wins in (("content", "twin_content"), ("position", "twin_position")):
        own, other = twin.plant(scene, T, 0)[case]
        found = twin.measure(View((planted(own), planted(other)), (), scene, T))
        assert found[wins] > 0.9 > 0.5 > min(found.values())


def test_fluctuation_is_the_literal_sum(scene):
    a, b = (torch.randn(9, 16, 32) for _ in range(2))
    got = motion.fluctuation(planted(a), planted(b))
    assert torch.allclose(got.float(), (b.abs() - a.abs()).abs().sum(0), atol=1e-5)
    model = xc.load_model("nerv-courtyard")
    before, now = (xc.trace(model, t)["head"] for t in (4, 5))
    want = (now.tensor().abs() - before.tensor().abs()).abs().sum(0)
    assert torch.allclose(motion.fluctuation(before, now).float(), want, rtol=1e-4, atol=1e-6)


def test_speeds_come_from_the_masks(scene):
    for ident, speed in ((2001, 0), (3001, 4), (4001, 3), (5001, 5)):
        assert scene.speed(ident, 4) == pytest.approx(speed, abs=0.3)
    assert scene.moving(4).equal(torch.isin(scene.clip.labels[4], torch.tensor([3001, 4001, 5001])))


def test_profiles_are_normalised_means(scene):
    maps, labels = (
        white(5, scene.clip.size, 0) * torch.arange(5)[:, None, None],
        scene.labels("RGB", T),
    )
    numbers, found = groups.profiles(planted(maps), labels)
    assert numbers.tolist() == [1, 2, 3, 4]  # the first is dead
    scaled = (maps[1:] - maps[1:].amin((1, 2), keepdim=True)) / (
        maps[1:].amax((1, 2)) - maps[1:].amin((1, 2))
    )[:, None, None]
    want = torch.stack([scaled[:, labels == r].mean(1) for r in range(32)], 1)
    assert found.dtype == torch.int16 and torch.allclose(found.float() / 4095, want, atol=2e-4)


def test_the_measured_frames_leave_out_frame_20():
    assert pairs(40) == [3, 8, 13, 18, 23, 28, 33, 38] and len(pairs(30)) == 8
    for n in range(2, 60):
        assert not {20, 21} & set(pairs(n)) and all(1 <= t < n for t in pairs(n))
    assert pairs(1) == [0]


# Verdicts -----------------------------------------------------------------------------------------
# ---------------------

CLAIM = Claim("edge_bias", (Condition("x", 1.0), Condition("x", "null")))


def made(values: dict, family="nerv", variant="trained", null=0.0, seeds=5):
    """x around a value per layer, over seeds."""
    wobble = np.linspace(-0.1, 0.1, seeds)
    rows = [
        dict(
            clip="c",
            family=family,
            seed=s,
            rule="paper",
            variant=variant,
            frame=0,
            layer=layer,
            statistic=k,
            value=v,
        )
        for layer, value in values.items()
        for s in range(seeds)
        for k, v in (("x", value + wobble[s]), ("null", null))
    ]
    return pd.DataFrame(rows)


def judged(table, claim=CLAIM, cases=None):
    finding = types.SimpleNamespace(CLAIMS=(claim,), CASES={claim.finding: cases or {}})
    rows = verdicts.judge(table, finding)
    return {
        row["layer"]: row["verdict"]
        for row in rows
        if row["family"] != "planted" and row["verdict"]
    }


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
    assert judged(made(values))["all"] == verdict


def test_a_missing_null_leaves_the_claim_undecided():
    table = made({"a": 2.0})
    assert judged(table[table.statistic != "null"])["all"] == "undecided"


def test_a_clip_on_which_nothing_could_be_tried_gives_no_verdict():
    assert judged(made({"a": 2.0}), cases={"good": True, "bad": False})["all"] == "no verdict"


@pytest.mark.parametrize("size", [(40, 72), (16, 16)])
def test_pictures_that_no_shift_fits_have_no_null_and_no_verdict_from_it(size):
    random = torch.Generator().manual_seed(0)
    clip = xc.Clip("odd", torch.rand(1, 3, *size, generator=random))
    found = selectivity.measure(View((planted(white(20, size, 0)),), (), Scene(clip), 0))
    assert np.isfinite(found["grid_last"]) and "null_r2_colour_edges" not in found


def test_one_fit_decides_nothing():
    assert judged(made({"a": 9.0}, seeds=1)) == {"a": "undecided", "all": "undecided"}


def test_a_failed_calibration_gives_no_verdict():
    trial = made({"good": 2.0, "bad": 0.0}, "planted")
    table = pd.concat([made({"a": 2.0}), trial])
    assert judged(table, cases={"good": True, "bad": False})["all"] == "reproduced"
    assert judged(table, cases={"good": True, "bad": True})["all"] == "no verdict"
    assert judged(table, cases={"good": False, "bad": False})["all"] == "no verdict"


def test_a_verdict_that_hangs_on_the_bias_is_undecided():
    same = pd.concat([made({"a": 2.0}), made({"a": 2.1}, variant="no bias")])
    other = pd.concat([made({"a": 2.0}), made({"a": 0.1}, variant="no bias")])
    assert judged(same)["all"] == "reproduced" and judged(other)["all"] == "undecided"


def test_what_an_untrained_network_has_too_gets_no_verdict_where_it_cannot_have_it():
    table = pd.concat([made({"a": 2.0, "b": 2.0}), made({"a": 2.0, "b": 0.0}, variant="untrained")])
    strict = Claim("edge_bias", CLAIM.conditions, untrained_fails=True)
    assert judged(table, strict) == {"a": "no verdict", "b": "reproduced", "all": "partly"}
    assert judged(table) == {"a": "reproduced", "b": "reproduced", "all": "reproduced"}


def test_the_interval_is_students():
    from scipy import stats

    values = [1.0, 2.0, 4.0, 4.5]
    want = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert intervals.interval(values) == pytest.approx(want)


# Stored results -----------------------------------------------------------------------------------
# ---------------------


def test_a_result_is_computed_once_and_again_when_its_key_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XINC_RESULTS", str(tmp_path))
    count = []

    def compute():
        count.append(1)
        return {
            "layer": dict(
                value=len(count) + 0.123456789, array=np.arange(6, dtype=np.float32).reshape(2, 3)
            )
        }

    def ask(**key):
        return store.remembered("x", "clip", "unit", key, compute)["layer"]

    assert ask(version=1)["value"] == ask(version=1)["value"] == 1.12346 and len(count) == 1
    assert ask(version=1)["array"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (
        ask(version=2)["value"] == 2.12346
        and ask(version=2)["value"] == 2.12346
        and len(count) == 2
    )
    (tmp_path / "x-clip.json").write_text('{"unit": {"key"')  # torn
    assert ask(version=2)["value"] == 3.12346
    assert list(json.loads((tmp_path / "x-clip.json").read_text())) == ["unit"]


def test_what_is_measured_anew_replaces_its_own_units_and_no_others(tmp_path, monkeypatch):
    for folder, units in (("stored", ("a", "b")), ("anew", ("b",))):
        monkeypatch.setenv("XINC_RESULTS", str(tmp_path / folder))
        for unit in units:
            store.remembered(
                "x", "clip", unit, {}, lambda folder=folder: {"layer": {"value": len(folder)}}
            )
    (tmp_path / "anew" / "partitions.npz").write_bytes(b"")
    monkeypatch.setenv("XINC_RESULTS", str(tmp_path / "stored"))
    store.take_over(tmp_path / "anew")
    store.take_over(tmp_path / "not there")  # nothing was measured
    assert (tmp_path / "stored" / "partitions.npz").exists()
    entries = json.loads((tmp_path / "stored" / "x-clip.json").read_text())
    assert {unit: entry["value"]["layer"]["value"] for unit, entry in entries.items()} == {
        "a": len("stored"),
        "b": len("anew"),
    }


def units():
    """For every finding, family and rule one stored unit, chosen by a seed."""
    stored = {}
    for finding in (*FINDINGS, twin, faithfulness, bits, faults, pruning):
        for path in sorted((paths.data_folder() / "results").glob(f"{finding.NAME}-*.json")):
            for label, entry in json.loads(path.read_text()).items():
                if label.startswith(("planted", "across")):
                    continue
                if finding in (pruning, bits) and "-s" not in label:
                    continue  # seed 1 is also trained further, which ends elsewhere on another machine
                model, rule, *variant, frame = label.split(" ")
                clip = path.stem.removeprefix(f"{finding.NAME}-")
                about = (clip, model, rule, " ".join(variant), int(frame))
                stored.setdefault((finding, model.split("-")[0], rule), []).append(
                    (about, entry["value"])
                )
    random = np.random.default_rng(0)
    for (finding, family, rule), found in stored.items():
        about, value = found[random.integers(len(found))]
        yield pytest.param(finding, about, value, id=f"{finding.NAME}-{family}-{rule}")


@pytest.mark.parametrize("finding, about, stored", units())
def test_stored_results_are_what_comes_out_today(finding, about, stored, monkeypatch):
    monkeypatch.delenv("XINC_RESULTS")
    clip, model, rule, variant, frame = about
    seed = xc.list_models()[model]["seed"]
    unit = results.Unit(clip, model.split("-")[0], seed, rule, variant, frame)
    assert unit.model == model
    found = results.compute(finding, xc.load_clip(clip), unit)
    for layer, values in stored.items():
        for statistic, value in values.items():
            near = (
                0.02 if finding is faults else 2e-4
            )  # a rank may turn on the last digit: one fault of 67
            if isinstance(value, float):
                assert found[layer][statistic] == pytest.approx(
                    value, rel=2e-3, abs=near, nan_ok=True
                ), (layer, statistic)


def test_weights_of_another_cut_of_a_clip_are_not_measured():
    from xinc_core.study.findings import distributed

    with pytest.raises(ValueError, match="40 frames"):
        results.measure(
            distributed,
            xc.load_clip("courtyard", start=10),
            ["nerv"],
            [1],
            ["paper"],
            progress=False,
        )
    shuffled = xc.clips.Clip("courtyard", xc.load_clip("courtyard").frames.flip(0))
    with pytest.raises(ValueError, match="another clip"):
        results.measure(distributed, shuffled, ["ffn"], [1], ["paper"], progress=False)


def test_processes_side_by_side_measure_what_one_does(tmp_path, monkeypatch):
    clip = xc.load_clip("shapes")

    def measured(name, threads):
        monkeypatch.setenv("XINC_RESULTS", str(tmp_path / name))
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        (tmp_path / name).mkdir()
        return results.measure(
            distributed, clip, ["ffn"], [1, 10, 20], ["paper", "first_order"], progress=False
        )

    asked = []
    monkeypatch.setattr(
        results, "compute", lambda *a, real=results.compute: (asked.append(a), real(*a))[1]
    )
    spread, n = measured("two", 2), len(asked)
    alone = measured("one", 1)
    assert n == 0 and len(asked) > 10, "with two, nothing was left for this process"
    assert spread.drop(columns="value").equals(alone.drop(columns="value")) and len(spread) > 50
    assert np.allclose(spread.value, alone.value, rtol=1e-4)


def test_layers_of_a_huge_network_are_sampled_under_every_rule(monkeypatch):
    unit = results.Unit("courtyard", "nerv", 1, "paper", "trained", 3)
    counts = types.SimpleNamespace(
        NAME="n", VERSION=1, OFFSETS=(0,), measure=lambda view: dict(n=float(len(view.layer)))
    )
    whole = results.compute(counts, xc.load_clip("courtyard"), unit)
    monkeypatch.setattr(sampling, "HUGE_NEURONS", 20_000)
    results._channels.cache_clear()
    sampled = results.compute(counts, xc.load_clip("courtyard"), unit)
    results._channels.cache_clear()
    assert [layer["n"] for layer in whole.values()] == [18352, 3224, 2288, 66]
    assert [layer["n"] for layer in sampled.values()] == [
        sampling.CHANNELS_OF_HUGE * 37,
        sampling.CHANNELS_OF_HUGE * 31,
        sampling.CHANNELS_OF_HUGE * 26,
        66,
    ]


def verdict_rows(**verdicts_of):
    """family → its verdicts, one per clip."""
    about = dict(finding="distributed", layer="all", rule="paper")
    return [
        about | dict(family=f, clip=f"clip {i}", verdict=v)
        for f, vs in verdicts_of.items()
        for i, v in enumerate(vs)
    ]


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
    assert where_it_holds(verdict_rows(**of)) == {("distributed", "paper"): want}


def test_the_table_of_verdicts_has_both_rules_in_a_cell():
    rows = verdict_rows(ffn=["reproduced"], nerv=["partly"])
    rows += [row | dict(rule="first_order", verdict="partly") for row in rows]
    assert (
        verdict_table(rows).splitlines()[2]
        == "| the representation is distributed | clip 0 | reproduced / partly | partly |"
    )


def test_the_figure_of_verdicts_has_a_box_for_each():
    rows = verdict_rows(ffn=["reproduced", "undecided"], nerv=["partly", "partly"])
    ax = charts.verdicts(rows).axes[0]
    assert len(ax.patches) == 4 and "nerv" in [text.get_text() for text in ax.texts]


def test_profiles_of_variants_are_not_kept_once_seeds_are_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("XINC_RESULTS", str(tmp_path))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    ask = lambda: results.measure(
        groups, xc.load_clip("shapes"), ["ffn"], [1, 10], ["first_order"], progress=False
    )  # noqa: E731
    first, path = ask(), tmp_path / "groups-shapes.json"
    kept = json.loads(path.read_text())
    for label, entry in kept.items():
        if not label.startswith(("across", "planted")):
            assert all(
                ("profiles" in values) == (" trained " in label)
                for values in entry["value"].values()
            ), label
    assert ask().equals(first) and json.loads(path.read_text()) == kept, "all of it is read"
    path.write_text(json.dumps({k: v for k, v in kept.items() if not k.startswith("across ffn")}))
    again = ask()  # variants are measured once more
    assert again.drop(columns="value").equals(first.drop(columns="value")) and np.allclose(
        again.value, first.value, rtol=1e-5
    )


@pytest.mark.parametrize(
    "values", [torch.arange(-60, 60).view(6, 20).short(), torch.arange(6).byte(), torch.rand(3, 5)]
)
def test_arrays_are_stored_as_they_are(values):
    got = store._unpacked(json.loads(json.dumps(store._packed(values))))
    assert got.shape == tuple(values.shape) and np.allclose(got, values, atol=1e-3)
