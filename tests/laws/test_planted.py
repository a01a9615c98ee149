"""Every finding on planted maps and on hand-made networks where its answer is known."""

import math
import types

import pandas as pd
import pytest
import torch
from conftest import Chain
from torch import nn

import xinc_core as xc
from xinc_core.models import identity
from xinc_core.study.answers import verdicts
from xinc_core.study.findings import groups, motion, twin
from xinc_core.study.findings.base import View
from xinc_core.study.findings.planted import painted_by, planted, white
from xinc_core.study.findings.registry import finding as finding_of
from xinc_core.study.measuring import Session
from xinc_core.study.measuring.compute import compute
from xinc_core.study.measuring.units import trials_of, units_of
from xinc_core.study.statistics.scene import Scene, measured_frames

PLANTED_FINDINGS = ("distributed", "edges", "selectivity", "objects", "motion", "groups")


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A session that stores its results away from the project's."""
    return Session(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def scene(session):
    return session.scene(xc.load_clip("shapes"))


def claims_with_cases():
    cases = []
    for name in PLANTED_FINDINGS:
        for claim in finding_of(name).claims:
            if claim.cases:
                cases.append(pytest.param(finding_of(name), claim, id=claim.name))
    return cases


@pytest.mark.parametrize("finding, claim", claims_with_cases())
def test_the_calibration_comes_out_right(finding, claim, session):
    """Planted maps through the code that judges the networks; on the drawn scene, whose masks are
    exact.

    Motion is tried on a real clip: where nothing but motion changes the picture, the two cannot be
    told apart.
    """
    needed = [finding]
    if finding.name == "selectivity":
        needed.append(finding_of("twin"))
    clip = xc.load_clip("box" if finding.name == "motion" else "shapes")
    table = session.measure(needed, clip, [], [], [], progress=False)
    trials = verdicts.calibrated(table, claim)
    assert trials.expected.any() and not trials.expected.all(), "a positive and a negative"
    assert trials.right.all(), trials


def test_a_drawn_scene_cannot_tell_motion_from_change_and_so_gives_no_verdict(session):
    finding = finding_of("motion")
    table = session.measure(finding, xc.load_clip("shapes"), [], [], [], progress=False)
    trials = verdicts.calibrated(table, finding.claim("motion_dominates"))
    assert not trials.right.all()


# Hand-made networks, through trace ---------------------------------------------------------------


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


def state(claim_name, paintings, frame, rule, scene):
    """The claim on several hand-made networks, as fits with different seeds."""
    finding, claim = CLAIMS[claim_name]
    rows, found = [], []
    for seed, maps in enumerate(paintings):
        canvases = [xc.trace(Painting(maps), frame + o, rule) for o in finding.offsets]
        layers = tuple(canvas["l1"] for canvas in canvases)
        found.append(
            (seed, finding.measure(View(layers, tuple(c.image for c in canvases), scene, frame)))
        )
    if finding.across is not None:
        across = finding.across(dict(found))
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
CLAIMS = {}  # name → the finding that makes it, and the claim
for _name in PLANTED_FINDINGS:
    for _claim in finding_of(_name).claims:
        CLAIMS[_claim.name] = (finding_of(_name), _claim)


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_distributed_through_trace(scene, rule):
    size = scene.clip.size
    everywhere = still(lambda s: 0.5 + white(40, size, s))
    alone = still(lambda s: painted_by(scene.labels("grid", T), 40, s, 0) ** 60)
    assert state("distributed", everywhere, T, rule, scene) is True
    assert state("distributed", alone, T, rule, scene) is False


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_an_edge_bias_through_trace(scene, rule):
    outlines = still(lambda s: scene.edges(T) + 0.1 * white(20, scene.clip.size, s))
    bright = still(lambda s: scene.light(T) + 0.1 * white(20, scene.clip.size, s))
    assert state("edge_bias", outlines, T, rule, scene) is True
    assert state("edge_bias", bright, T, rule, scene) is not True


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_neurons_that_paint_cells_or_colours_through_trace(scene, rule):
    cells = still(lambda s: painted_by(scene.labels("grid", T), 40, s))
    colours = still(
        lambda s: (
            painted_by(scene.labels("RGB", T), 40, s)
            + painted_by(scene.labels("Gabor (paper)", T), 40, s + 9)
        )
    )
    both = [3 * a + b for a, b in zip(cells, colours)]  # place above all, but colour too
    assert state("colour_and_edges_over_space", cells, T, rule, scene) is False
    assert state("space_agnostic", cells, T, rule, scene) is not True
    assert state("space_agnostic", both, T, rule, scene) is False
    for claim in ("colour_and_edges_over_space", "space_agnostic"):
        assert state(claim, colours, T, rule, scene) is True, claim


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_neurons_that_follow_one_object_through_trace(scene, rule):
    things = scene.partitions["instances"].labels

    def follower(seed, t):
        mine = (things[t] == (1 + torch.arange(40) % 4)[:, None, None]).float()
        return mine + 0.3 * white(40, scene.clip.size, seed + 10 * t)

    def colourist(seed, t):
        parts = (scene.partitions[name].labels[t] for name in ("RGB", "Gabor", "Gabor (paper)"))
        return sum(painted_by(labels, 40, seed + 9 * i) for i, labels in enumerate(parts))

    assert state("no_object_semantics", moving(follower), T, rule, scene) is False
    assert state("no_object_semantics", moving(colourist), T, rule, scene) is True


def test_an_image_network_is_asked_about_objects_too_but_not_whether_it_follows_them(session):
    objects, clip = finding_of("objects"), xc.load_clip("shapes")
    units = list(units_of(objects, clip, ["ffn"], [1], ["paper"]))
    assert [unit.variant for unit in units] == ["trained", "untrained", "no bias"]
    for values in compute(session, objects, clip, units[0]).values():
        assert set(values) == {"instances_last", "planted_instances_last", "null_instances_last"}


def test_a_video_too_short_to_follow_anything_is_still_asked_about_objects(session):
    objects, short = finding_of("objects"), xc.load_clip("shapes")[:4]
    (first, *_) = trials_of(objects, short)
    found = compute(session, objects, short, first)
    added = {"instances_last", "planted_instances_last", "null_instances_last"}
    assert all(set(values) == added for values in found.values())
    cases = {case: values["instances_last"] for case, values in found.items()}
    assert cases["one object each"] > 10 * abs(cases["colour and texture"])


@pytest.fixture(scope="module")
def real(session, real_clip):
    return session.scene(xc.load_clip(real_clip))


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_maps_that_move_and_maps_frozen_in_time_through_trace(real, rule):
    size = real.clip.size
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
    assert state("motion_dominates", moving(mover, frames=40), 9, rule, real) is True
    assert state("motion_dominates", still_there, 9, rule, real) is not True
    assert state("motion_dominates", flicker, 9, rule, real) is not True


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_a_seed_copied_and_permuted_mixes_and_strangers_do_not(scene, rule):
    labels = scene.labels("RGB", T)
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
    assert state("clusters", copied, T, rule, scene) is True
    assert state("clusters", strangers, T, rule, scene) is not True


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
    model = xc.load_model("nerv-shapes")
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


def test_the_frame_on_which_thresholds_were_set_is_left_out_of_its_own_clip_alone():
    courtyard = xc.load_clip("courtyard")
    assert measured_frames(courtyard) == [3, 8, 13, 18, 23, 28, 33, 38]
    for start in (0, 2, 17):
        part = courtyard[start:]  # another clip, with other frames under these numbers
        assert len(measured_frames(part)) == 8
    bunny = xc.load_clip("bunny")
    assert measured_frames(bunny) == [3, 6, 9, 12, 15, 18, 21, 24], "21 follows 20"
    for n in range(2, 31):
        frames = measured_frames(bunny[:n])
        assert frames and all(1 <= frame < n for frame in frames)
    assert measured_frames(bunny[:1]) == [0]


def test_neither_that_frame_nor_the_one_after_it_is_measured():
    clip = xc.load_clip("courtyard")
    dense = measured_frames(clip, most=40)
    assert not {20, 21} & set(dense)


@pytest.mark.parametrize("size", [(40, 72), (16, 16)])
def test_pictures_that_no_shift_fits_have_no_null_and_no_verdict_from_it(size, tmp_path):
    random = torch.Generator().manual_seed(0)
    clip = xc.Clip("odd", torch.rand(1, 3, *size, generator=random))
    found = finding_of("selectivity").measure(
        View((planted(white(20, size, 0)),), (), Scene(clip, tmp_path), 0)
    )
    assert math.isfinite(found["grid_last"]) and "null_r2_colour_edges" not in found
