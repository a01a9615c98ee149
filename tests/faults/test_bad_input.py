"""What may come in from outside: a table of what works all the same, and a table of what is
refused, each with its sentence.

Every row goes through the ``xinc`` command where one exists: it ends with 0, or with 2 and one
line; with --debug the same input raises. What no command can be asked is put to the function.
"""

import json
import shlex
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

import xinc_core as xc
from xinc_core.cli import words as cli
from xinc_core.clips import count_frames, save_clip
from xinc_core.clips.geometry import Fit
from xinc_core.models import NeRV

H, W = 48, 64


def scene(t=0, h=H, w=W):
    """(h, w, 3): bright at the left, red at the top, a dark corner; no two turns of it look
    alike.
    """
    row, col = np.mgrid[:h, :w] / max(h, w)
    picture = np.stack([200 - 150 * row, 220 - 180 * col, 60 + 60 * col + 4 * t + 0 * row], -1)
    picture[: h // 4, : w // 4] = 20
    return picture.round().astype(np.uint8)


def write_video(
    path, frames, codec="ffv1", pix="bgr0", source="rgb24", times=None, turn=None, **options
):
    with av.open(
        str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}
    ) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pix
        stream.bit_rate = 4_000_000
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if turn:
            stream.set_display_rotation(turn)
        for i, frame in enumerate(frames):
            image = av.VideoFrame.from_ndarray(frame, format=source)
            if times:
                image.pts, image.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(image))
        container.mux(stream.encode())


def mp4(path, frames, **options):
    write_video(path, frames, "mpeg4", "yuv420p", **options)


def see_through(picture):
    """The right half is transparent, with colours behind."""
    alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
    alpha[:, picture.shape[1] // 2 :] = 0
    return np.concatenate([picture, alpha], -1)


def on_black(picture):
    picture = picture.copy()
    picture[:, picture.shape[1] // 2 :] = 0
    return picture


def grey(picture):
    return np.repeat(picture[..., :1], 3, -1)


def photograph(path, picture, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(path, exif=exif, quality=98)


FILM = [scene(t) for t in range(6)]

# What works ---------------------------------------------------------------------------------------
# what came | its name | how it is written | what must be seen, frame by frame

WORKS = [
    ("a video", "film.mp4", lambda p: mp4(p, FILM), FILM),
    ("a video of one frame", "one.mp4", lambda p: mp4(p, FILM[:1]), FILM[:1]),
    (
        "a video of odd size",
        "odd.mkv",
        lambda p: write_video(p, [scene(0, 47, 61)]),
        [scene(0, 47, 61)],
    ),
    (
        "a portrait video",
        "tall.mkv",
        lambda p: write_video(p, [scene(0, 64, 36)]),
        [scene(0, 64, 36)],
    ),
    (
        "a phone's video, held upright",
        "phone.mp4",
        lambda p: mp4(p, FILM, turn=-90),
        [np.rot90(f, -1) for f in FILM],
    ),
    (
        "a phone's video, the other way up",
        "other.mp4",
        lambda p: mp4(p, FILM, turn=90),
        [np.rot90(f) for f in FILM],
    ),
    (
        "a phone's video, upside down",
        "down.mp4",
        lambda p: mp4(p, FILM, turn=180),
        [np.rot90(f, 2) for f in FILM],
    ),
    (
        "variable frame rate: each frame once",
        "vfr.mkv",
        lambda p: write_video(p, FILM, times=[0, 40, 300, 310, 900, 1500]),
        FILM,
    ),
    (
        "a transparent video: black shows",
        "clear.mov",
        lambda p: write_video(p, [see_through(f) for f in FILM], "qtrle", "argb", "rgba"),
        [on_black(f) for f in FILM],
    ),
    ("a grey video", "grey.mkv", lambda p: write_video(p, FILM, pix="gray"), None),
    (
        "a video of 16 bits",
        "deep.mkv",
        lambda p: write_video(
            p, [f[..., 0].astype(np.uint16) * 257 for f in FILM], pix="gray16le", source="gray16le"
        ),
        [grey(f) for f in FILM],
    ),
    (
        "an interlaced video",
        "woven.mpg",
        lambda p: write_video(p, FILM, "mpeg2video", "yuv420p", flags="+ildct+ilme"),
        FILM,
    ),
    ("an animation", "film.gif", lambda p: write_video(p, FILM, "gif", "rgb8"), None),
    (
        "a photograph taken sideways",
        "turned.jpg",
        lambda p: photograph(p, scene(), 6),
        [np.rot90(scene(), -1)],
    ),
    (
        "a photograph taken in a mirror",
        "mirror.jpg",
        lambda p: photograph(p, scene(), 2),
        [scene()[:, ::-1]],
    ),
    (
        "a transparent picture: black shows",
        "clear.png",
        lambda p: Image.fromarray(see_through(scene())).save(p),
        [on_black(scene())],
    ),
    (
        "a grey picture",
        "grey.png",
        lambda p: Image.fromarray(scene()[..., 0]).save(p),
        [grey(scene())],
    ),
    (
        "a picture of 16 bits",
        "deep.png",
        lambda p: Image.fromarray(scene()[..., 0].astype(np.uint16) * 257).save(p),
        [grey(scene())],
    ),
    (
        "a black-and-white picture",
        "bits.png",
        lambda p: Image.fromarray(scene()[..., 0] > 150).save(p),
        [grey(np.where(scene() > 150, 255, 0))],
    ),
    (
        "a picture for print, CMYK",
        "print.jpg",
        lambda p: Image.fromarray(scene()).convert("CMYK").save(p, quality=98),
        [scene()],
    ),
]
LOSSY = {".mp4", ".mpg", ".jpg"}


@pytest.mark.parametrize("what, name, write, seen", WORKS, ids=[row[0] for row in WORKS])
def test_this_works(what, name, write, seen, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    clip = xc.load_clip(name)
    expected = FILM if seen is None else seen
    assert len(clip) == len(expected) == count_frames(name)[0]
    plan = Fit.plan(expected[0].shape[:2])
    if seen is not None:
        for shown, wanted in zip(clip.frames, seen):
            wanted = np.asarray(
                plan.picture(Image.fromarray(np.ascontiguousarray(wanted, dtype=np.uint8))), float
            )
            error = np.abs(shown.permute(1, 2, 0).numpy() * 255 - wanted)
            assert error.mean() < 4 if clip.taken.path.suffix in LOSSY else error.max() <= 1.01, (
                what
            )
    assert clip.size == plan.size and "frames" in repr(clip) or len(clip) == 1
    assert cli.main(shlex.split(f"fit {name} --family ffn --epochs 1 -o mine.safetensors")) == 0, (
        capsys.readouterr()
    )


def test_a_variable_frame_rate_is_the_average(tmp_path):
    mp4(tmp_path / "vfr.mp4", FILM, times=[0, 100, 400, 500, 1200, 1900])
    clip = xc.load_clip(tmp_path / "vfr.mp4")
    assert 6 / 2.0 <= clip.fps <= 6 / 1.9
    assert xc.load_clip(tmp_path / "vfr.mp4", step=2).fps == clip[::2].fps == clip.fps / 2


def test_frames_before_a_break_can_be_had(tmp_path):
    """The number in the sentence is the number that works, and one more does not."""
    for name, codec in (
        ("a.mp4", "mpeg4"),
        ("b.mp4", "libx264"),
        ("c.mkv", "libx264"),
        ("d.avi", "mpeg4"),
        ("e.gif", "gif"),
    ):
        noise = np.random.default_rng(0).integers(0, 90, (20, H, W, 3), dtype=np.uint8)
        write_video(
            tmp_path / name,
            [scene() // 2 + n for n in noise],
            codec,
            "rgb8" if codec == "gif" else "yuv420p",
        )
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(0.6 * len(data))])
        with pytest.raises(ValueError, match="breaks off after") as refused:
            xc.load_clip(tmp_path / name)
        n = int(str(refused.value).rpartition("=")[2])
        assert 0 < n < 20 and len(xc.load_clip(tmp_path / name, stop=n)) == n
        with pytest.raises(ValueError, match=f"breaks off after {n} frame"):
            xc.load_clip(tmp_path / name, stop=n + 1)


def test_a_cut_by_an_edit_list_is_no_break(tmp_path):
    """A phone's trimmed video: half of what the file holds is not shown, and that is as it
    should be.
    """
    mp4(tmp_path / "film.mp4", FILM)
    data = bytearray((tmp_path / "film.mp4").read_bytes())
    at = data.find(b"elst") + 12
    data[at : at + 4] = (300).to_bytes(4, "big")  # of 600 milliseconds
    (tmp_path / "trimmed.mp4").write_bytes(data)
    assert (
        len(xc.load_clip(tmp_path / "trimmed.mp4"))
        == count_frames(tmp_path / "trimmed.mp4")[0]
        == 3
    )


def test_a_clip_that_would_fill_the_memory_is_refused_on_the_way(tmp_path):
    mp4(tmp_path / "film.mp4", FILM)
    most_bytes = 4 * 12 * H * W  # four frames
    with pytest.raises(ValueError, match="keep fewer frames, with stop or step"):
        xc.load_clip(tmp_path / "film.mp4", most_bytes=most_bytes)
    assert len(xc.load_clip(tmp_path / "film.mp4", stop=4, most_bytes=most_bytes)) == 4


# What is refused ----------------------------------------------------------------------------------


def small_nerv():
    torch.manual_seed(0)
    return NeRV(
        NeRV.Config(size=(48, 64), n_frames=6, strides=(4, 2), channels=(3, 4, 2), levels=5)
    )


def authors(model):
    """Its tensors by the names of the authors' files."""
    layers = {"decoder.0.conv.downconv": model.expand, "head_layer": model.head}
    layers |= {f"decoder.{i}.conv.upconv.0": block for i, block in enumerate(model.blocks, 1)}
    return {
        f"{k}.{p}": getattr(m, p).detach() for k, m in layers.items() for p in ("weight", "bias")
    }


class Payload:
    """Pickles to a call that would leave the file "ran" behind."""

    def __reduce__(self):
        return (exec, ("open('ran', 'w').close()",))


def doctored(path, change):
    """A model's file with other tensors."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path.with_name("nerv.safetensors"), "pt") as file:
        header, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}
    change(tensors)
    save_file(tensors, path, metadata=header)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Everything that the table names."""
    at = tmp_path_factory.mktemp("bad")
    mp4(at / "film.mp4", FILM)
    data = (at / "film.mp4").read_bytes()
    (at / "empty.mp4").write_bytes(b"")
    (at / "empty.png").write_bytes(b"")
    (at / "text.mp4").write_text("not a video\n" * 100)
    (at / "text.txt").write_text("not a video")
    (at / "headless.mp4").write_bytes(data[: len(data) // 10])
    (at / "cut.mp4").write_bytes(data[: int(0.8 * len(data))])
    Image.fromarray(scene()).save(at / "whole.png")
    (at / "cut.png").write_bytes((at / "whole.png").read_bytes()[:-60])
    with av.open(str(at / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    write_video(at / "tiny.mkv", [scene(0, 12, 80)])
    Image.fromarray(np.zeros((20, 20), np.float32)).save(at / "fractions.tif")
    for folder in ("nothing", "frames", "mixed", "two", "small", "strange", "photos", "coco"):
        (at / folder).mkdir()
    for t, frame in enumerate(FILM):
        Image.fromarray(frame).save(at / "frames" / f"{t}.png")
        mask = np.zeros((H, W), np.uint8)
        mask[10:30, 5 * t : 5 * t + 20] = 1
        Image.fromarray(mask[:, ::2]).save(at / "small" / f"{t}.png")
        Image.fromarray(frame).save(at / "photos" / f"{t}.png")
        Image.fromarray(mask * 9).save(at / "coco" / f"{t}.png")
        if t < 2:
            Image.fromarray(mask).save(at / "two" / f"m{t}.png")
            Image.fromarray(frame[t * 8 :]).save(at / "mixed" / f"{t}.png")
    (at / "strange" / "0.png").write_bytes(b"no picture")
    for t in range(1, 6):
        Image.fromarray(np.ones((H, W), np.uint8)).save(at / "strange" / f"{t}.png")
    infos = [dict(id=1, category_id=1)]
    table = dict(
        annotations=[dict(image_id=t, file_name=f"{t}.png", segments_info=infos) for t in range(6)]
    )
    table |= dict(categories=[dict(id=1, name="ball", isthing=1)])
    (at / "coco" / "table.json").write_text(json.dumps(table))
    model = small_nerv()
    state = authors(model)
    xc.save_model(model, at / "nerv.safetensors")
    doctored(at / "lacks.safetensors", lambda t: t.pop("head.bias"))
    doctored(at / "extra.safetensors", lambda t: t.update(more=torch.zeros(2)))
    doctored(at / "nan.safetensors", lambda t: t["head.bias"].fill_(float("nan")))
    doctored(at / "shape.safetensors", lambda t: t.update({"head.bias": torch.zeros(4)}))
    (at / "noise.safetensors").write_bytes(b"noise" * 50)
    (at / "junk.xinc").write_bytes(b"\0noise" * 50)
    (at / "words.safetensors").write_text("not a model")
    (at / "posing.xinc").write_bytes(data)
    save_clip(xc.Clip("clip", torch.zeros(1, 3, 16, 16)), at / "clip.safetensors")
    xc.compress(model, at / "small.xinc")
    (at / "cut.xinc").write_bytes((at / "small.xinc").read_bytes()[:-20])
    torch.save({"state_dict": state}, at / "nerv.pth")
    torch.save({"state_dict": {"layer.weight": torch.zeros(2, 2)}}, at / "other.pth")
    torch.save(
        {"state_dict": {k: v for k, v in state.items() if k != "head_layer.bias"}}, at / "lacks.pth"
    )
    torch.save({"state_dict": state | {"decoder.1.more.weight": torch.ones(2)}}, at / "extra.pth")
    torch.save(
        {"state_dict": state | {"head_layer.bias": torch.full((3,), float("nan"))}}, at / "nan.pth"
    )
    torch.save({"state_dict": state, "config": Payload()}, at / "evil.pth")
    torch.save(
        {"state_dict": state, "config": Payload()},
        at / "evil-old.pth",
        _use_new_zipfile_serialization=False,
    )
    return at


# what came | what is asked | what is said. "fit" gets an output file; names are those that
# ``files`` writes.

REFUSED = [
    # videos, pictures, folders
    ("a missing file", "fit gone.mp4", "no clip 'gone.mp4': neither a file or folder nor one of"),
    ("an empty video", "fit empty.mp4", "cannot be read as a video"),
    ("an empty picture", "fit empty.png", "cannot be read as an image"),
    ("a text that says it is a video", "fit text.mp4", "cannot be read as a video"),
    ("a file of another kind", "fit text.txt", "is neither a video"),
    ("a video without its head", "fit headless.mp4", "cannot be read as a video"),
    ("a video that was cut", "fit cut.mp4", "to take only those, say stop="),
    ("a picture that was cut", "fit cut.png", "cannot be read as an image"),
    ("sound without pictures", "fit sound.mkv", "holds no pictures"),
    (
        "zero frames: none that lie there",
        "fit film.mp4 --frames 50:60",
        "no frames of 'film.mp4' lie in 50:60:1",
    ),
    (
        "zero frames: an empty range",
        "fit film.mp4 --frames 3:3",
        "no frames of 'film.mp4' lie in 3:3:1",
    ),
    ("an empty folder", "fit nothing", "holds no images"),
    (
        "a folder of pictures of two sizes",
        "fit mixed",
        "differ in size: one is 40×64, the first 48×64",
    ),
    (
        "a video that is too small",
        "fit tiny.mkv",
        "a frame of 12×80 is too small: each side needs 16 pixels",
    ),
    (
        "pixels that are fractions",
        "fit fractions.tif",
        "it holds fractions; save it with 8 or 16 bits",
    ),
    # clips and networks that do not fit each other
    ("a size that no NeRV paints", "fit film.mp4 --size 50x70", "multiples of 16, not 50×70"),
    ("a frame that the clip does not have", "fit film.mp4 --family ffn --frame 9", "9"),
    ("a clip of another length", "compress nerv.safetensors --clip frames-of-5", "6 frames"),
    ("a clip of another size", "compress nerv.safetensors --clip astronaut", "48×64 pixels"),
    ("a size for a shipped clip", "fit courtyard --size 64x64", "has one size"),
    # masks
    ("masks that are not there", "study frames --masks gone", "there are no masks at 'gone'"),
    (
        "masks of another count",
        "study frames --masks two",
        "'two' holds 2 masks, but the clip has 6 frames",
    ),
    (
        "masks of another size",
        "study frames --masks small",
        "have 48×32 pixels, but the clip has 48×64",
    ),
    ("masks that are no masks", "study frames --masks photos", "so it is a picture, not a mask"),
    ("a mask that is no picture", "study frames --masks strange", "cannot be read as an image"),
    (
        "a mask with ids that its table lacks",
        "study frames --masks coco",
        "holds segment 9, which its table does not list",
    ),
    # checkpoints
    (
        "a missing checkpoint",
        "compress gone.safetensors",
        "no model 'gone.safetensors': neither a file nor one of",
    ),
    (
        "a checkpoint that is none",
        "compress noise.safetensors",
        "cannot be read as a .safetensors file",
    ),
    (
        "a compressed one that is none",
        "compress junk.xinc -o x.xinc",
        "cannot be read as a compressed model",
    ),
    (
        "a compressed one that was cut",
        "compress cut.xinc -o x.xinc",
        "is damaged: its checksum is wrong",
    ),
    ("missing tensors", "compress lacks.safetensors", "head.bias: expected (3,), found none"),
    ("extra tensors", "compress extra.safetensors", "more: expected none, found (2,)"),
    (
        "a tensor of another shape",
        "compress shape.safetensors",
        "head.bias: expected (3,), found (4,)",
    ),
    ("numbers that are none", "compress nan.safetensors", "not finite, in 'head.bias'"),
    ("the authors' file, of unknown size", "compress nerv.pth", "carries no picture size"),
    ("a video for a model", "compress film.mp4", "'film.mp4' is a video, not a model"),
    ("a picture for a model", "compress whole.png", "'whole.png' is a picture, not a model"),
    ("a text for a model", "compress text.txt", "'text.txt' is a text, not a model"),
    ("an empty file for a model", "compress empty.mp4", "is an empty file, not a model"),
    (
        "a crafted pickle, of unknown size",
        dict(load_model="evil.pth"),
        "asks for code that weights do not need",
    ),
    (
        "an old crafted pickle, of unknown size",
        dict(load_model="evil-old.pth"),
        "it is a pickle, which can run code when it is opened, and was not opened",
    ),
    ("a text that says it is a model", "compress words.safetensors", "(it is a text)"),
    ("a video that says it is a model", "compress posing.xinc -o x.xinc", "it is a video"),
    ("a clip for a model", "compress clip.safetensors", "is a clip that save_clip wrote"),
    ("a model for a clip", "fit nerv.safetensors", "it is a .safetensors file"),
    (
        "another architecture",
        dict(load_model="other.pth", size=(48, 64), n_frames=6),
        "its first tensor is 'layer.weight'",
    ),
    (
        "the authors' file, for another size",
        dict(load_model="nerv.pth", size=(64, 64), n_frames=6),
        "is the size right?",
    ),
    (
        "the authors' file, missing tensors",
        dict(load_model="lacks.pth", size=(48, 64), n_frames=6),
        "head.bias: expected (3,)",
    ),
    (
        "the authors' file, extra tensors",
        dict(load_model="extra.pth", size=(48, 64), n_frames=6),
        "expected none, found (2,)",
    ),
    (
        "the authors' file, numbers that are none",
        dict(load_model="nan.pth", size=(48, 64), n_frames=6),
        "not finite",
    ),
    (
        "a crafted pickle",
        dict(load_model="evil.pth", size=(48, 64), n_frames=6),
        "asks for code that weights do not need",
    ),
    (
        "an old crafted pickle",
        dict(load_model="evil-old.pth", size=(48, 64), n_frames=6),
        "cannot be read as a checkpoint",
    ),
    ("options that make no sense", dict(load_clip="film.mp4", step=0), "in steps ≥ 1"),
    (
        "a crop that does not fit",
        dict(load_clip="film.mp4", crop=(99, 99)),
        "a crop of 99×99 does not fit a frame of 48×64",
    ),
    ("a size that is none", dict(load_clip="film.mp4", size=(0, 64)), "size is (height, width)"),
    ("frames to count in a text", dict(count_frames="text.txt"), "is neither a video"),
    # output folders that are read-only or full, two runs at once, kill -9: the rows of the study's
    # run folder go here
]


@pytest.mark.parametrize("what, asked, said", REFUSED, ids=[row[0] for row in REFUSED])
def test_this_is_refused_in_one_sentence(what, asked, said, files, tmp_path, monkeypatch, capsys):
    for file in files.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "frames-of-5").mkdir()
    for t in range(5):
        (tmp_path / "frames-of-5" / f"{t}.png").symlink_to(files / "frames" / f"{t}.png")
    monkeypatch.chdir(tmp_path)
    if isinstance(asked, dict):
        (name, path), *options = asked.items()
        call = dict(load_model=xc.load_model, load_clip=xc.load_clip, count_frames=count_frames)[
            name
        ]
        with pytest.raises((ValueError, FileNotFoundError)) as refused:
            call(path, **dict(options))
        sentence = str(refused.value)
    else:
        words = shlex.split(asked) + dict(
            fit=["-o", "out.safetensors"], study=["--out", "out"]
        ).get(asked.split()[0], [])
        assert cli.main(words) == 2
        printed, sentence = capsys.readouterr()
        *plan, sentence = sentence.strip().splitlines()
        assert sentence.startswith("xinc: ") and printed == "" and (not plan or words[0] == "study")
        with pytest.raises((ValueError, OSError, IndexError)):
            cli.main(["--debug", *words])
        assert not (tmp_path / "out.safetensors").exists()
    assert said in sentence and "\n" not in sentence and len(sentence) < 700, sentence
    assert not (tmp_path / "ran").exists()
