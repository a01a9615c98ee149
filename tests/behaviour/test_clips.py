"""Clips: what is shipped is what it says, and files of many kinds are read."""

import av
import numpy as np
import pytest
import torch
from PIL import Image

import xinc_core as xc
from xinc_core.util.files import hash_file
from xinc_core.util.paths import data_folder


def test_everything_shipped_has_its_checksum():
    data = data_folder()
    lines = [line.split("  ") for line in (data / "SHA256SUMS").read_text().splitlines()]
    for digest, name in lines:
        assert hash_file(data / name) == digest, name
    files = {
        p.relative_to(data).as_posix()
        for f in ("clips", "models")
        for p in (data / f).rglob("*")
        if p.is_file()
    }
    assert {name for _, name in lines} == {f for f in files if "__pycache__" not in f}


@pytest.mark.parametrize("name", list(xc.list_clips()))
def test_shipped_clips(name):
    clip = xc.load_clip(name)
    assert clip.frames.dtype == torch.float32 and clip.frames.min() >= 0 and clip.frames.max() <= 1
    assert all(n % 16 == 0 for n in clip.size)
    assert name in repr(clip)


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


def test_bad_input_gets_one_sentence(files, tmp_path):
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 1000)
    (tmp_path / "noise.png").write_bytes(b"noise")
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny.png")
    cases = [
        ((tmp_path / "gone.mp4",), {}, FileNotFoundError, "neither a file or folder nor one of"),
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
