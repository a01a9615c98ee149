"""The camera's homography, and what is left of the flow without it."""

import json

import numpy as np
import pytest

import xinc_core as xc
from xinc_core.study.statistics.camera import (
    Camera,
    camera,
    flow_between,
    homography_of,
    share_moved,
)
from xinc_core.util.paths import data_folder

SIZE = (32, 48)
IDENTITY = np.eye(3)
HOMOGRAPHIES = {
    "still": IDENTITY,
    "a pan": np.array([[1, 0, 3.0], [0, 1, -1.5], [0, 0, 1]]),
    "a zoom with a turn": np.array([[1.05, -0.04, 1.0], [0.04, 1.05, -2.0], [0, 0, 1]]),
    "a tilt": np.array([[1.01, 0.02, -1.0], [0.01, 0.98, 2.0], [4e-4, -6e-4, 1]]),
}


def flow_of(homography) -> np.ndarray:
    """The flow, (2, H, W) as (row, column), of a homography on (x, y) = (column, row)."""
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    at = np.einsum("ij,jhw->ihw", homography, np.stack([cols, rows, np.ones(SIZE)]))
    return np.stack([at[1] / at[2] - rows, at[0] / at[2] - cols])


@pytest.mark.parametrize("name", HOMOGRAPHIES)
def test_a_homography_is_found_exactly(name):
    flow = flow_of(HOMOGRAPHIES[name])
    assert np.abs(homography_of(flow) - flow).max() < 1e-6


@pytest.mark.parametrize("name", HOMOGRAPHIES)
@pytest.mark.parametrize("share", (0.1, 0.3))
def test_what_moves_by_itself_is_left_and_nothing_else(name, share):
    """A block on its own way, and noise of a tenth of a pixel."""
    flow = flow_of(HOMOGRAPHIES[name])
    by_itself = np.zeros(SIZE, bool)
    by_itself[: round(SIZE[0] * share**0.5), : round(SIZE[1] * share**0.5)] = True
    rng = np.random.default_rng(0)
    seen = flow + rng.normal(0, 0.03, flow.shape)
    seen[:, by_itself] += np.array([2.0, -3.0])[:, None]
    left = np.hypot(*(seen - homography_of(seen))) > 0.5
    assert (left != by_itself).mean() < 0.01


def test_mirroring_the_flow_mirrors_the_homography():
    rng = np.random.default_rng(1)
    flow = flow_of(HOMOGRAPHIES["a tilt"]) + rng.normal(0, 0.4, (2, *SIZE))
    mirrored = flow[:, :, ::-1] * np.array([1, -1])[:, None, None]
    back = homography_of(mirrored)[:, :, ::-1] * np.array([1, -1])[:, None, None]
    assert np.abs(back - homography_of(flow)).max() < 1e-6


def test_the_flow_says_where_a_pixel_was(shapes):
    """A pixel of a frame lies at p + flow in the frame before: there it has the same colour."""
    flow = flow_between(shapes, 5)
    rows, cols = np.mgrid[: shapes.size[0], : shapes.size[1]]
    moved = np.hypot(*flow) > 0
    at = (rows + flow[0]).astype(int)[moved], (cols + flow[1]).astype(int)[moved]
    now = shapes.frames[5][:, moved].numpy()
    before = shapes.frames[4][:, at[0], at[1]].numpy()
    assert (now == before).all(0).mean() > 0.99


def test_a_camera_moves_where_it_accounts_for_half_of_what_moves():
    assert Camera(0.4, 0.1, 1.0).moves and not Camera(0.4, 0.3, 1.0).moves
    assert not Camera(0.04, 0.0, 0.1).moves  # under a twentieth of the picture
    assert share_moved(flow_of(HOMOGRAPHIES["a pan"])) == 1 and share_moved(flow_of(IDENTITY)) == 0


def stored() -> dict:
    return json.loads((data_folder() / "cameras.json").read_text())


def test_the_drawn_scenes_camera_is_as_stored(shapes):
    compare(shapes)


@pytest.mark.slow
def test_a_shipped_clips_camera_is_as_stored():
    compare(xc.load_clip("tree"))


def compare(clip) -> None:
    """Shares to half a percent of the picture: another processor's flow may round otherwise."""
    found, facts = camera(clip), stored()[clip.name]
    assert found.share_before == pytest.approx(facts["share_before"], abs=5e-3)
    assert found.share_after == pytest.approx(facts["share_after"], abs=5e-3)
    assert found.moves == facts["moves"]


def test_every_clip_of_several_frames_has_a_camera():
    known = xc.clips.known_clips().values()
    assert set(stored()) == {clip.name for clip in known if clip.frames > 1}
    for facts in stored().values():
        told = Camera(facts["share_before"], facts["share_after"], facts["shift"])
        assert told.moves == facts["moves"]
