"""Command lines as somebody types them in a hurry: each ends in one sentence that says what came
and what is wanted, with exit status 2, and leaves nothing behind.
"""

import shlex

import av
import numpy as np
import pytest
from PIL import Image

from xinc_core.cli import words as cli

LINES = {
    # what is computed with
    "fit film.mp4 --device gpu": "no device 'gpu'; there is 'cpu'",
    "fit film.mp4 --device meta": "no device 'meta'; there is 'cpu'",
    "study film.mp4 --device gpu": "no device 'gpu'; there is 'cpu'",
    # numbers
    "fit film.mp4 --parameters 1000000000000": "has at most 100,000,000 parameters here",
    "fit film.mp4 --parameters 1e6": "a whole number of at least 1 is wanted, not '1e6'",
    "fit film.mp4 --parameters 3": "no NeRV of 48×64 has as few as 3 parameters",
    "fit film.mp4 --epochs 0": "a whole number of at least 1 is wanted, not 0",
    "fit film.mp4 --family ffn --lr nan": "a positive number is wanted, e.g. 1e-3, not 'nan'",
    "fit film.mp4 --seed -1": "a whole number from 0 to",
    "fit film.mp4 --seed 99999999999999999999": "a whole number from 0 to",
    "fit film.mp4 --family ffn --frame 99": "frame 99 is outside the clip's 6 frames",
    "study film.mp4 --seeds 1 1": "seeds that differ",
    "study film.mp4 --epochs 0": "at least one epoch",
    "sweep --clips film.mp4 --cores 0": "at least one core",
    "compress ffn-cat --bits 99": "a whole number from 2 to 12 is wanted, not 99",
    "compress ffn-cat --prune nan": "prune is a share of the neurons, from 0 to under 1, not nan",
    "trace nerv-bunny --frame 99": "frame 99 is outside this model's 30 frames",
    "trace ffn-cat --frame 5": "paints one picture, frame 0 of its clip, not frame 5",
    # sizes
    "fit film.mp4 --size 128": "a size is written HEIGHTxWIDTH",
    "fit film.mp4 --size 99999x99999": "at most 100 million in all",
    "fit film.mp4 --size 7x7": "multiples of 16, not 7×7",
    "compress ffn-cat --clip bunny": "the model paints 128×192 pixels, the clip has 128×256",
    "compress nerv-bunny --clip courtyard": "the model has 30 frames, the clip 40",
    "explore film.mp4 nerv-bunny --no-browser": "the model paints 128×256 pixels, the clip has",
    # frames
    "fit film.mp4 --frames 5:2": "no frames of 'film.mp4' lie in 5:2:1",
    "study film.mp4 --frames 9:99": "no frames of 'film.mp4' lie in 9:99:1",
    "study frames/0.png --families nerv": "gives one frame: that takes image networks",
    # files and folders
    "fit nothing.mp4": "no clip 'nothing.mp4': neither a file or folder nor one of",
    "fit empty": "the folder 'empty' holds no images",
    "fit text.txt": "'text.txt' is neither a video",
    "fit broken.mp4": "'broken.mp4' cannot be read as a video",
    "fit broken.png": "'broken.png' cannot be read as an image",
    "fit broken.safetensors": "'broken.safetensors' cannot be read as a clip",
    "fit film.mp4 -o out.mp4": "the file ends in .safetensors, not as in 'out.mp4'",
    "fit film.mp4 -o kept.safetensors": "'kept.safetensors' exists already; name another file",
    "trace nothing": "no model 'nothing': neither a file nor one of",
    "trace broken.safetensors": "'broken.safetensors' cannot be read as a .safetensors file",
    "trace broken.xinc": "'broken.xinc' cannot be read as a compressed model",
    "trace ffn-cat -o text.txt/maps.npz": "text.txt",
    "study film.mp4 --out text.txt": "'text.txt' is a file; the study goes into a folder",
    "study film.mp4 --masks nowhere": "there are no masks at 'nowhere'",
    "step . fit a b": "holds no sweep; xinc sweep begins one",
    # words
    "": "name a command: study, sweep, ",
    "modles": "did you mean 'models'?",
    "--foo models": "no option of xinc models '--foo'",
    "fit film.mp4 --epoch 3": "did you mean '--epochs'?",
    "fit film.mp4 --family nerf": "no family 'nerf'; there are ffn, nerv, siren, hnerv",
    "trace ffn-cat --layer block3": "'block3'; there are layer1, layer2, layer3",
    "trace nerv-bunny --rule papre": "'papre' (choose from",
    "sweep --clips film.mp4 --executor nope": "no executor 'nope' is installed",
    "study film.mp4 -p fram=3": "did you mean 'frame'?",
    "study film.mp4 --notebooks 99": "no notebook '99'; there are 00_start_here",
    "study film.mp4 --fresh": "--fresh is for the shipped study",
    "study --dry-run": "--dry-run takes a clip",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder as it may lie about: a short film, pictures, and files that are broken."""
    folder = tmp_path_factory.mktemp("desk")
    pictures = np.random.default_rng(1).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
    (folder / "empty").mkdir()
    (folder / "frames").mkdir()
    Image.fromarray(pictures[0]).save(folder / "frames" / "0.png")
    with av.open(str(folder / "film.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in pictures:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
    (folder / "text.txt").write_text("hello")
    (folder / "kept.safetensors").write_bytes(b"somebody's")
    (folder / "broken.mp4").write_bytes(b"0000ftyp" * 10)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    (folder / "broken.safetensors").write_bytes(b"12345678{}")
    (folder / "broken.xinc").write_bytes(b"XINC1aaaa")
    return folder


@pytest.mark.parametrize("line", LINES, ids=lambda line: line or "nothing at all")
def test_a_careless_line_ends_in_one_sentence(line, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    before = {path: path.stat().st_mtime_ns for path in desk.rglob("*")}
    assert cli.main(shlex.split(line)) == cli.BAD_INPUT
    printed, said = capsys.readouterr()
    assert printed == "" and len(said.splitlines()) == 1
    assert said.startswith("xinc: ") and LINES[line] in said, said
    assert {path: path.stat().st_mtime_ns for path in desk.rglob("*")} == before
