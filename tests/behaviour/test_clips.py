"""Clips: what is shipped is what it says, and files of many kinds are read."""

import json
import subprocess
from fnmatch import fnmatch
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location

import av
import numpy as np
import pytest
import torch
from conftest import missing
from PIL import Image

import xinc_core as xc
from xinc_core.clips import known_clips
from xinc_core.clips.catalogue import photographs, videos
from xinc_core.clips.fetching import place_of
from xinc_core.study.statistics.scene import Scene
from xinc_core.util.files import hash_file
from xinc_core.util.paths import data_folder


def test_everything_shipped_has_its_checksum():
    """All data but stored measurements, whose lines name the content that they belong to."""
    data = data_folder()
    lines = [line.split("  ") for line in (data / "SHA256SUMS").read_text().splitlines()]
    for digest, name in lines:
        assert hash_file(data / name) == digest, name
    listed = {name for _, name in lines}
    texts = {"README.md", "LICENCES.md", "PAPER_RUNS.md", "SHA256SUMS"}
    texts |= {"build.py", "describe.py", "compare_recipes.py"}
    assert listed == {
        name
        for name in tracked_or_new(data)
        if not name.startswith("results/") and name not in texts
    }


def tracked_or_new(folder):
    """Files of a folder that git tracks or would take."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "."]
    listed = subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder).stdout
    return [name for name in listed.splitlines() if (folder / name).is_file()]


@pytest.fixture(scope="module")
def describe():
    """The script that makes the tables of data/README.md and data/LICENCES.md."""
    spec = spec_from_file_location("describe", data_folder() / "describe.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", ("README.md", "LICENCES.md"))
def test_the_tables_of_the_data_are_those_of_the_files(describe, file):
    text = (data_folder() / file).read_text()
    assert describe.with_tables(file) == text, "run: python data/build.py checksums"
    for clip in known_clips().values():
        assert f"`{clip.name}`" in text or f"`clips/{clip.name}/*`" in text or clip.name == "shapes"


def test_every_file_of_the_data_has_a_licence(describe):
    """By the first pattern that fits; what is another's has the terms of its clip."""
    rows = [row.strip("| ").split(" | ") for row in describe.licences_table()[2:]]
    licences = {pattern.strip("`"): licence for pattern, licence, _ in rows}
    clips = known_clips()

    def licence_of(name):
        return next(licence for pattern, licence in licences.items() if fnmatch(name, pattern))

    for name in tracked_or_new(data_folder()):
        said, folder = licence_of(name), name.split("/")
        if folder[0] == "clips" and folder[1] != "courtyard":
            assert said == clips[folder[1]].licence
        elif folder[0] == "models":
            assert said.startswith("that of the clip")
            assert any(f"-{clip}" in name for clip in clips), name
        elif name.startswith("clips/courtyard/frames"):
            assert "not checked" in said
        else:
            assert said == "MIT", name
    for clip in clips.values():
        assert clip.licence and clip.credit


def test_nothing_of_a_fetched_video_is_committed():
    names = tracked_or_new(data_folder())
    for clip in known_clips().values():
        if clip.is_fetched:
            assert not [name for name in names if name.startswith(f"clips/{clip.name}/")]
            assert not [name for name in names if name.endswith(clip.video.file)]


def test_names_are_of_one_clip_each():
    """A photograph of the same thing as a video has another name."""
    assert not set(videos()) & set(photographs())
    assert {"coffee", "flower"} <= set(videos())
    assert {"coffee-photo", "flower-photo"} <= set(photographs())
    assert (len(videos()), len(photographs()), len(known_clips())) == (15, 12, 30)


@cache
def at_hand(name):
    """A clip by its name, read once; a video that is not at hand is not fetched by a test."""
    clip = known_clips()[name]
    if clip.is_fetched and place_of(clip.video) is None:
        missing(f"{clip.video.file} is not at hand: {name} was not read")
    return xc.load_clip(name)


@pytest.mark.parametrize("name", list(xc.list_clips()))
def test_clips_that_are_known_by_a_name(name):
    clip, known = at_hand(name), known_clips()[name]
    assert clip.frames.dtype == torch.float32 and clip.frames.min() >= 0 and clip.frames.max() <= 1
    assert all(n % 16 == 0 for n in clip.size) and min(clip.size) == 128
    assert name in repr(clip) and len(clip) == known.frames
    if known.video is not None:
        assert clip.size == known.video.size
        assert clip.fps == pytest.approx(known.video.fps, rel=1e-5)


def original(name):
    """The video of a registered clip."""
    video = videos()[name]
    path = place_of(video)
    if path is None:
        missing(f"{video.file} is not at hand: {name} was not cut from it")
    return path


@pytest.mark.parametrize("name", [name for name, video in videos().items() if video.shipped])
def test_shipped_frames_are_those_of_the_video(name):
    """Lossless, so equal where the decoder rounds as it did here. Another processor's decoder may
    round a colour to the next of 256 levels on its way from the video's own colours.
    """
    video, clip = videos()[name], xc.load_clip(name)
    again = xc.load_clip(original(name), video.start, video.keep.stop, video.step)
    assert again.size == clip.size and len(again) == len(clip)
    apart = (again.frames_8bit.int() - clip.frames_8bit.int()).abs()
    assert apart.max() <= 2 and apart.float().mean() < 0.2
    assert (again.checksum == clip.checksum) == (int(apart.max()) == 0)


@pytest.mark.parametrize("name", ["cars", "water", "tree"])
def test_a_registered_clip_is_cut_as_the_method_says(name):
    """METHOD 5, step by step: frame start + k·step, averaged over areas to a short side of 128,
    the middle of it with sides that are multiples of 16.
    """
    video, clip = videos()[name], at_hand(name)
    wanted = {video.start + k * video.step: k for k in range(0, video.frames, 13)}
    with av.open(str(original(name))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index > max(wanted):
                break
            if index not in wanted:
                continue
            picture = frame.to_image()
            scale = 128 / min(picture.size)
            width, height = (round(side * scale) for side in picture.size)
            small = np.asarray(picture.resize((width, height), Image.Resampling.BOX))  # (h, w, 3)
            top, left = (height - height // 16 * 16) // 2, (width - width // 16 * 16) // 2
            cut = small[top : top + height // 16 * 16, left : left + width // 16 * 16]
            frame_of_clip = clip.frames_8bit[wanted[index]].permute(1, 2, 0).numpy()
            assert np.abs(frame_of_clip.astype(int) - cut).max() <= 1


# Masks of registered clips -----------------------------------------------------------------------


def mask_table() -> dict:
    return json.loads((data_folder() / "masks" / "segments.json").read_text())


@pytest.mark.parametrize("name", list(mask_table()))
def test_registered_clips_carry_their_masks(name):
    clip, table = at_hand(name), mask_table()[name]
    assert clip.labels.shape == (40, *clip.size) and clip.labels.dtype == torch.int64
    assert set(clip.segments) == {int(number) for number in table}
    assert set(clip.labels.unique().tolist()) - {0} == set(clip.segments)
    scene = Scene(clip)
    for number, facts in table.items():
        segment = clip.segments[int(number)]
        assert (segment.name, segment.category) == (facts["name"], facts["category"])
        assert segment.is_thing and is_seen_to_move(scene, segment.id) == facts["moves"], segment
        if "until" in facts:
            assert not (clip.labels[facts["until"] :] == segment.id).any()
    assert clip[5:9].labels.equal(clip.labels[5:9])


def is_seen_to_move(scene, number) -> bool:
    """Whether a thing's mask departs from where it was, where nothing else covers it.

    The share of pixels that it ever has, and not always: a thing that stays keeps nearly all,
    but for those that something passes in front of.
    """
    labels = scene.clip.labels
    here = labels == number  # (T, H, W)
    ever = here.any(0)
    uncovered = ever & ~here & (labels == 0)  # (T, H, W): it was here once, and now there is ground
    return bool((uncovered.flatten(1).sum(1) / ever.sum()).max() > 0.1)


def test_the_agreement_of_masks_is_as_the_page_says(describe):
    rows = describe.agreement()
    assert {row["clip"] for row in rows} == set(mask_table())
    for row in rows:
        of_ball = (row["clip"], row["segment"]) == ("dog", "3")
        low, high = (0.599, 0.874) if of_ball else (0.85, 0.98)
        assert low <= float(row["iou"]) <= high and row["check"] in ("first", "after changes")


def test_courtyard_is_annotated():
    clip = xc.load_clip("courtyard")
    assert (len(clip), clip.size, len(clip.segments)) == (40, (128, 256), 43)
    assert set(clip.labels.unique().tolist()) - {0} == set(clip.segments)
    assert sum(s.category == "person" for s in clip.segments.values()) == 9
    assert (clip.labels == 0).float().mean() < 1e-3


def test_shapes_flow_and_masks_are_exact(shapes):
    """A pixel of frame t that belongs to the same segment at t − 1, flow back, has exactly the
    same colour there.
    """
    (H, W), checked = shapes.size, 0
    rows, cols = torch.arange(H)[:, None], torch.arange(W)[None]
    for t in range(1, len(shapes)):
        r, c = rows - shapes.flow[t, 0].long(), cols - shapes.flow[t, 1].long()
        inside = (r >= 0) & (r < H) & (c >= 0) & (c < W)
        r, c = r.clamp(0, H - 1), c.clamp(0, W - 1)
        same = inside & (shapes.labels[t - 1][r, c] == shapes.labels[t])
        assert shapes.frames[t - 1][:, r, c].sub(shapes.frames[t]).abs().amax(0)[same].max() == 0
        checked += int(same.sum())
    assert checked > 0.95 * (len(shapes) - 1) * H * W


def test_the_scene_holds_what_findings_need(shapes):
    kinds = {s.name: i for i, s in shapes.segments.items()}
    moving = {
        name: bool(
            (shapes.flow[1:][(shapes.labels[1:] == i)[:, None].expand(-1, 2, -1, -1)] != 0).any()
        )
        for name, i in kinds.items()
    }
    assert moving == dict(
        background=False, blue_block=False, green_block=True, chameleon=True, red_disc=True
    )
    color = {n: shapes.frames.movedim(1, -1)[shapes.labels == i].mean(0) for n, i in kinds.items()}
    assert (
        (color["chameleon"] - color["background"]).abs().max()
        < 0.05
        < (color["red_disc"] - color["background"]).abs().max()
    )
    area = (shapes.labels == kinds["blue_block"]).sum((1, 2))
    assert area.min() < 0.7 * area.max() and area[0] == area.max()  # the disc passes in front of it


def write_video(path, frames, rate=10):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    ramp = np.linspace(0, 120, 320, dtype=np.uint8)[None, :, None].repeat(192, 0).repeat(3, 2)
    frames = [ramp + np.uint8(10 * t) for t in range(12)]
    write_video(folder / "film.mp4", frames)
    (folder / "frames").mkdir()
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / "frames" / f"{t:02d}.png")
    Image.fromarray(frames[0]).save(folder / "picture.jpg", quality=95)
    return folder


@pytest.mark.parametrize("name", ["film.mp4", "frames"])
def test_start_stop_and_step_choose_frames(files, name):
    clip = xc.load_clip(files / name, start=2, stop=10, step=3)
    assert len(clip) == 3 and clip.size == (128, 208)  # 192×320 → short side 128 → multiples of 16
    brightness = clip.frames.mean((1, 2, 3)) * 255
    assert torch.allclose(brightness.diff(), torch.tensor([30.0, 30.0]), atol=2)


def test_size_and_crop(files):
    assert xc.load_clip(files / "picture.jpg").size == (128, 208)
    assert xc.load_clip(files / "film.mp4", size=(64, 96)).size == (64, 96)
    clip = xc.load_clip(files / "frames", crop=(100, 200), size=(50, 100), stop=1)
    whole = np.asarray(Image.open(files / "frames" / "00.png"))[46:146, 60:260].astype(float)
    area = whole.reshape(50, 2, 100, 2, 3).mean((1, 3))
    assert np.abs(clip.frames[0].permute(1, 2, 0).numpy() * 255 - area).max() <= 0.5 + 1e-3


def test_only_the_kept_frames_are_read(tmp_path):
    for t in range(8):
        (tmp_path / f"{t}.png").write_bytes(b"no image")
    for t in (1, 6):
        Image.new("RGB", (32, 16), (10 * t, 0, 0)).save(tmp_path / f"{t}.png")
    clip = xc.load_clip(tmp_path, start=1, stop=7, step=5)
    assert (clip.frames[:, 0, 0, 0] * 255).round().tolist() == [10, 60]
    with pytest.raises(ValueError, match="cannot be read as an image"):
        xc.load_clip(tmp_path, start=1, stop=7, step=4)


def test_frames_are_read_in_the_order_of_their_numbers(tmp_path):
    for n in (1, 2, 9, 10, 11):
        Image.new("L", (16, 16), n * 10).save(tmp_path / f"frame{n}.png")
    assert (xc.load_clip(tmp_path).frames[:, 0, 0, 0] * 25.5).round().tolist() == [1, 2, 9, 10, 11]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray((ramp / 257).round().astype(np.uint8)).save(tmp_path / "plain.png")
    deep, plain = (xc.load_clip(tmp_path / f"{name}.png").frames for name in ("deep", "plain"))
    assert (deep - plain).abs().max() <= 1.001 / 255


@pytest.mark.parametrize(
    "path, name",
    (
        ("walk/frames", "walk"),
        ("walk/JPEGImages/rgb", "walk"),
        ("walk/left", "left"),
        ("walk/v1.2", "v1.2"),
        ("film.mp4", "film"),
        ("frames.mp4", "frames"),
    ),
)
def test_a_clip_is_named_by_what_says_something(tmp_path, path, name, monkeypatch):
    place = tmp_path / path
    if place.suffix == ".mp4":
        write_video(place, [np.zeros((32, 48, 3), np.uint8)] * 2)
    else:
        place.mkdir(parents=True)
        Image.new("RGB", (48, 32)).save(place / "0.png")
        monkeypatch.chdir(place)
        assert xc.load_clip(".").name == name
    assert xc.load_clip(place).name == name


def test_bad_input_gets_one_sentence(files, tmp_path):
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 1000)
    (tmp_path / "noise.png").write_bytes(b"noise")
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny.png")
    cases = [
        ((tmp_path / "gone.mp4",), {}, FileNotFoundError, "nor one of the 30 clips"),
        ((tmp_path / "noise.mp4",), {}, ValueError, "cannot be read as a video"),
        ((tmp_path / "noise.png",), {}, ValueError, "cannot be read as an image"),
        ((tmp_path / "text.txt",), {}, ValueError, "neither a video"),
        ((tmp_path / "empty",), {}, ValueError, "holds no images"),
        ((tmp_path / "tiny.png",), {}, ValueError, "too small"),
        ((files / "film.mp4",), dict(start=50), ValueError, "no frames of"),
        ((files / "film.mp4",), dict(crop=(999, 999)), ValueError, "does not fit"),
        (("courtyard",), dict(size=(64, 64)), ValueError, "has one size"),
        (("courtyard",), dict(step=0), ValueError, "steps ≥ 1"),
    ]
    for args, options, kind, sentence in cases:
        with pytest.raises(kind, match=sentence):
            xc.load_clip(*args, **options)
