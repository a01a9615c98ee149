"""Measuring: the store, units, processes side by side, and memory that is keyed by content."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import xinc_core as xc
from xinc_core.editing import sampling
from xinc_core.study.findings.base import Finding
from xinc_core.study.findings.registry import FINDINGS, finding
from xinc_core.study.measuring import Session, Unit
from xinc_core.study.measuring import store as store_module
from xinc_core.study.measuring.compute import compute
from xinc_core.study.measuring.store import Address, Store
from xinc_core.study.statistics.scene import CALIBRATION_FRAMES
from xinc_core.util import paths


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path, workers=1)


# The store ----------------------------------------------------------------------------------------


def test_a_result_is_computed_once_and_again_when_its_key_changes(tmp_path):
    store = Store(tmp_path)
    calls = []

    def compute_it():
        calls.append(1)
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        return {"layer": dict(value=len(calls) + 0.123456789, array=array)}

    def ask(**key):
        return store.remember(Address("x", "clip", "unit", key), compute_it)["layer"]

    assert ask(version=1)["value"] == ask(version=1)["value"] == 1.12346
    assert len(calls) == 1
    assert ask(version=1)["array"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert ask(version=2)["value"] == ask(version=2)["value"] == 2.12346
    assert len(calls) == 2
    (tmp_path / "x-clip.json").write_text('{"unit": {"key"')  # torn
    assert ask(version=2)["value"] == 3.12346
    assert list(json.loads((tmp_path / "x-clip.json").read_text())) == ["unit"]


def test_what_is_measured_anew_replaces_its_own_units_and_no_others(tmp_path):
    for name, units in (("stored", ("a", "b")), ("anew", ("b",))):
        (tmp_path / name).mkdir()
        store = Store(tmp_path / name)
        for unit in units:
            value = {"layer": {"value": len(name)}}
            store.remember(Address("x", "clip", unit, {}), lambda value=value: value)
    (tmp_path / "anew" / "partitions.npz").write_bytes(b"")
    store = Store(tmp_path / "stored")
    store.take_over(tmp_path / "anew")
    store.take_over(tmp_path / "not there")  # nothing was measured
    assert (tmp_path / "stored" / "partitions.npz").exists()
    entries = json.loads((tmp_path / "stored" / "x-clip.json").read_text())
    values = {unit: entry["value"]["layer"]["value"] for unit, entry in entries.items()}
    assert values == {"a": len("stored"), "b": len("anew")}


@pytest.mark.parametrize(
    "values", [torch.arange(-60, 60).view(6, 20).short(), torch.arange(6).byte(), torch.rand(3, 5)]
)
def test_arrays_are_stored_as_they_are(values):
    packed = json.loads(json.dumps(store_module._packed(values)))
    got = store_module._unpacked(packed)
    assert got.shape == tuple(values.shape) and np.allclose(got, values, atol=1e-3)


# Memory keyed by content --------------------------------------------------------------------------


def test_clips_with_equal_frames_and_other_names_of_segments_have_scenes_of_their_own(session):
    """Masks name what moves: the same picture with a "statue" for a "person" is another scene."""
    clip = xc.load_clip("shapes")
    still = {
        number: replace(segment, category="statue") for number, segment in clip.segments.items()
    }
    other = replace(clip, segments=still)
    assert other.checksum == clip.checksum
    assert session.scene(clip) is session.scene(xc.load_clip("shapes"))
    assert session.scene(other) is not session.scene(clip)
    assert session.scene(clip).moving(4).any() and not session.scene(other).moving(4).any()


def count_neurons(view):
    return dict(n=float(len(view.layer)), total=float(view.layer.totals().sum()))


COUNTING = Finding("counting", 1, "How many?", "", "99", {}, measure=count_neurons)


def test_a_model_saved_again_under_its_name_is_measured_again(tmp_path, monkeypatch):
    """In one session: the numbers are those of the weights that lie there now."""
    clip = xc.Clip("tiny", torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    monkeypatch.setenv("XINC_RUN", str(tmp_path))
    (tmp_path / "models").mkdir()
    session = Session(tmp_path, workers=1)
    path = tmp_path / "models" / "ffn-tiny.safetensors"

    def total():
        table = session.measure(COUNTING, clip, ["ffn"], [1], ["paper"], progress=False)
        trained = table[(table.variant == "trained") & (table.statistic == "total")]
        return trained.value.sum()

    model, _ = xc.fit("ffn", clip, epochs=2, width=8, checkpoint=False, progress=False)
    xc.save_model(model, path, clip="tiny", seed=1)
    before, checksum = total(), session.checksum("ffn-tiny")
    with torch.no_grad():
        for linear in model.linears:
            linear.weight.mul_(2)
    xc.save_model(model, path, clip="tiny", seed=1)
    assert session.checksum("ffn-tiny") != checksum
    after = total()
    fresh = xc.trace(xc.load_model(path))
    wanted = sum(float(layer.totals().sum()) for layer in fresh)
    assert after == pytest.approx(wanted, rel=1e-5) and after != pytest.approx(before, rel=1e-3)


def test_calibration_frames_belong_to_the_courtyard_alone():
    assert list(CALIBRATION_FRAMES) == [xc.load_clip("courtyard").checksum]


# Units --------------------------------------------------------------------------------------------


def stored_units():
    """For every finding, family and rule one stored unit, chosen by a seed."""
    stored = {}
    folder = paths.data_folder() / "results"
    for one in FINDINGS:
        for path in sorted(folder.glob(f"{one.name}-*.json")):
            clip = path.stem.removeprefix(f"{one.name}-")
            for label, entry in json.loads(path.read_text()).items():
                if label.startswith(("planted", "across")):
                    continue
                if one.name in ("pruning", "bits") and "-s" not in label:
                    continue  # seed 1 is also trained further, which ends elsewhere elsewhere
                model, rule, *variant, frame = label.split(" ")
                about = (clip, model, rule, " ".join(variant), int(frame))
                kind = (one.name, model.split("-")[0], rule)
                stored.setdefault(kind, []).append((about, entry["value"]))
    random = np.random.default_rng(0)
    for (name, family, rule), units in stored.items():
        about, value = units[random.integers(len(units))]
        yield pytest.param(name, about, value, id=f"{name}-{family}-{rule}")


def error_of_a_share(statistic, values):
    """How far a share of an R² may lie from the stored one on another machine.

    An R² over float32 maps is known to about 1e-5, and so a share of it to 1e-5 / R²: more than
    other numbers' 2e-4 only below R² = 0.05, as where regions explain nothing (an untrained head,
    R² = −0.0002).
    """
    if statistic.startswith("shapley_"):
        r2 = values["r2_joint"]
    elif statistic == "grid_last":
        without_grid = 1 - values["grid_last"]  # its share of the R² with the grid
        r2 = values["r2_colour_edges"] / without_grid if without_grid else 0.0
    else:
        return 0.0
    return 1e-5 / max(abs(r2), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name, about, stored", stored_units())
def test_stored_results_are_what_comes_out_today(name, about, stored, session):
    clip, model, rule, variant, frame = about
    seed = xc.list_models()[model]["seed"]
    unit = Unit(clip, model.split("-")[0], seed, rule, variant, frame)
    assert unit.model == model
    session.store = Store(paths.data_folder() / "results")  # the stored partitions of the clip
    found = compute(session, finding(name), xc.load_clip(clip), unit)
    # a rank may turn on the last digit, and of a network's faults one is 1/67
    near = 0.02 if name == "faults" else 2e-4
    for layer, values in stored.items():
        for statistic, value in values.items():
            if isinstance(value, float):
                error = max(near, error_of_a_share(statistic, values))
                wanted = pytest.approx(value, rel=2e-3, abs=error, nan_ok=True)
                assert found[layer][statistic] == wanted, (layer, statistic)


def test_weights_of_another_cut_of_a_clip_are_not_measured(session):
    distributed = finding("distributed")
    cut = xc.load_clip("courtyard", start=10)
    with pytest.raises(ValueError, match="40 frames"):
        session.measure(distributed, cut, ["nerv"], [1], ["paper"], progress=False)
    shuffled = xc.Clip("courtyard", xc.load_clip("courtyard").frames.flip(0))
    with pytest.raises(ValueError, match="another clip"):
        session.measure(distributed, shuffled, ["ffn"], [1], ["paper"], progress=False)


@pytest.mark.slow
def test_processes_side_by_side_measure_what_one_does(tmp_path):
    clip = xc.load_clip("shapes")
    distributed = finding("distributed")

    def measured(name, workers):
        (tmp_path / name).mkdir()
        session = Session(tmp_path / name, workers=workers)
        rules = ["paper", "first_order"]
        return session.measure(distributed, clip, ["ffn"], [1, 10, 20], rules, progress=False)

    spread = measured("two", 2)
    alone = measured("one", 1)
    assert spread.drop(columns="value").equals(alone.drop(columns="value")) and len(spread) > 50
    assert np.allclose(spread.value, alone.value, rtol=1e-4)


@pytest.mark.slow
def test_a_finding_that_is_in_no_registry_is_measured_in_this_process(tmp_path):
    clip = xc.load_clip("shapes")
    session = Session(tmp_path, workers=2)
    table = session.measure(COUNTING, clip, ["ffn"], [1, 10], ["paper"], progress=False)
    assert set(table[table.statistic == "n"].value) == {208.0, 104.0}


def test_layers_of_a_huge_network_are_sampled_under_every_rule(tmp_path):
    clip = xc.load_clip("courtyard")
    unit = Unit("courtyard", "nerv", 1, "paper", "trained", 3)
    count = replace(COUNTING, measure=lambda view: dict(n=float(len(view.layer))))

    def neurons(huge_neurons):
        session = Session(tmp_path, huge_neurons=huge_neurons)
        return [layer["n"] for layer in compute(session, count, clip, unit).values()]

    few = sampling.CHANNELS_OF_HUGE
    assert neurons(sampling.HUGE_NEURONS) == [18352, 3224, 2288, 66]
    assert neurons(20_000) == [few * 37, few * 31, few * 26, 66]


@pytest.mark.slow
def test_profiles_of_variants_are_not_stored_once_seeds_are_compared(tmp_path):
    session = Session(tmp_path, workers=1)
    clip, groups = xc.load_clip("shapes"), finding("groups")

    def ask():
        return session.measure(groups, clip, ["ffn"], [1, 10], ["first_order"], progress=False)

    first = ask()
    path = tmp_path / "groups-shapes.json"
    stored = json.loads(path.read_text())
    for label, entry in stored.items():
        if not label.startswith(("across", "planted")):
            is_trained = " trained " in label
            assert all(("profiles" in values) == is_trained for values in entry["value"].values())
    assert ask().equals(first) and json.loads(path.read_text()) == stored, "all of it is read"
    without = {k: v for k, v in stored.items() if not k.startswith("across ffn")}
    path.write_text(json.dumps(without))
    again = ask()  # variants are measured once more
    assert again.drop(columns="value").equals(first.drop(columns="value"))
    assert np.allclose(again.value, first.value, rtol=1e-5)


def test_every_finding_says_all_that_the_study_asks_of_it():
    names = Counter(one.name for one in FINDINGS)
    assert max(names.values()) == 1
    claims = Counter(claim.name for one in FINDINGS for claim in one.claims)
    assert max(claims.values()) == 1
    for one in FINDINGS:
        assert one.question.endswith("?") and one.notebook.isdigit()
        cases = [claim for claim in one.claims if claim.cases]
        assert not cases or one.plant is not None, one
        assert all(figure.startswith(f"{one.notebook}_") for figure in one.captions)
