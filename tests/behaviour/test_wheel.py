"""The package as it is installed away from its checkout: from a wheel, in another folder.

It carries the notebooks, the table of clips and their masks, and no other data. What needs none
works; what needs shipped data says so in one sentence that names XINC_DATA, and works where that
points to a checkout's data folder. A study from a wheel is ``make wheel-study``.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest
from conftest import missing
from PIL import Image
from wheel_study import build_wheel

import xinc_core as xc
from xinc_core.clips.catalogue import videos
from xinc_core.clips.fetching import place_of
from xinc_core.util.paths import checkout

pytestmark = pytest.mark.slow  # a wheel is built; each script imports torch anew


def quiet(*command, cwd):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package in it, from a wheel that was built of the tracked files alone."""
    build, target = (tmp_path_factory.mktemp(name) for name in ("build", "lib"))
    wheel = build_wheel(build, *_offline())
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    quiet(*pip, "install", "--no-deps", "--target", target, wheel, cwd=build)
    return target


def _offline() -> list[str]:
    """Build with the setuptools that is here, if it is new enough; otherwise pip fetches one."""
    try:
        major = int(version("setuptools").split(".")[0])
    except PackageNotFoundError:
        return []
    return ["--no-build-isolation"] if major >= 77 else []


@pytest.fixture
def run(installed, tmp_path):
    """Run a script in another folder with the installed package; what it prints last, as JSON.

    Afterwards nothing has been written beside the package's code.
    """

    def files():
        return {path for path in installed.rglob("*") if "__pycache__" not in path.parts}

    before = files()

    def run_script(script, **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("XINC_")}
        environment |= dict(PYTHONPATH=str(installed), TQDM_DISABLE="1", **variables)
        done = subprocess.run(
            [sys.executable, "-c", HEAD + script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        *_, last = done.stdout.splitlines()
        return json.loads(last)

    yield run_script
    assert files() == before


HEAD = """\
import contextlib, io, json
from pathlib import Path
import xinc_core as xc
from xinc_core.cli import main

assert xc.__file__.startswith(__import__("os").environ["PYTHONPATH"])

def xinc(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()

def refused(call, *words):
    try:
        call(*words)
    except FileNotFoundError as error:
        return str(error)
"""


def test_what_needs_no_shipped_data_works(run, tmp_path):
    rows, cols = np.mgrid[:32, :48]
    picture = np.stack([5 * rows, 5 * cols, 2 * (rows + cols)], -1).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "mine.png")
    found = run("""
clip = xc.load_clip("mine.png", size=(32, 48))
model, history = xc.fit("ffn", clip, epochs=30, width=12, progress=False)
xc.save_model(model, "mine.safetensors")
again = xc.load_model("mine.safetensors")
again.frame, again.fitted_to = 0, clip.checksum
facts = xc.compress(again, "mine.xinc", clip)
canvas = xc.trace(xc.load_model("mine.xinc"))
rebuilt = canvas[canvas.layers[-1]].color(0).shape
xc.explore(again, clip)
xc.diagnose(again, clip)
drawn = len(xc.load_clip("shapes"))
codes = [
    xinc("fit", "mine.png", "--family", "ffn", "--epochs", 3, "-o", "cli.safetensors"),
    xinc("trace", "cli.safetensors", "-o", "cli.npz"),
    xinc("compress", "cli.safetensors", "-o", "cli.xinc"),
    xinc("explore", "mine.png", "cli.safetensors", "--no-browser"),
    xinc("clips"),
]
print(json.dumps(dict(
    psnr=facts["psnr"], shape=list(rebuilt), drawn=drawn, models=xc.list_models(),
    failed=[c for c in codes if c[0]],
)))
""")
    assert found["psnr"] > 8 and found["shape"] == [3, 32, 48] and found["drawn"] == 24
    assert found["models"] == {} and found["failed"] == []


def test_what_needs_shipped_data_says_so_in_one_sentence(run):
    sentences = run("""
print(json.dumps([
    refused(xc.load_clip, "bunny"),
    refused(xc.load_clip, "courtyard"),
    refused(xc.load_model, "nerv-bunny"),
    xinc("models")[2],
    xinc("trace", "nerv-bunny")[2],
    xinc("fit", "bunny")[2],
]))
""")
    check_sentences(sentences)


def test_registered_clips_are_known_and_carry_their_masks(run):
    """The tables and masks are in the wheel; the videos come from a folder, or are fetched."""
    place = place_of(videos()["cars"])
    if place is None:
        missing("cars.mp4 is not at hand: the wheel did not read it")
    found = run(
        """
clip = xc.load_clip("cars")
print(json.dumps(dict(
    identity=clip.identity, names=len(xc.list_clips()), listed=xinc("clips")[1],
)))
""",
        XINC_CLIPS=str(place.parent),
    )
    assert found["identity"] == xc.load_clip("cars").identity and found["names"] == 30
    assert "not here" in found["listed"] and "here  " in found["listed"]


def test_the_shipped_study_says_so_too(run):
    check_sentences(run('print(json.dumps([xinc("study", "--notebooks", "03")[2]]))'))


def test_the_notebooks_are_those_of_the_checkout_without_outputs(installed):
    carried = sorted((installed / "xinc_core" / "notebooks").iterdir())
    own = [*(checkout() / "notebooks").glob("*.ipynb"), checkout() / "notebooks" / "Snakefile"]
    assert [path.name for path in carried] == sorted(path.name for path in own)
    for path in carried:
        if path.suffix != ".ipynb":
            assert path.read_text() == (checkout() / "notebooks" / path.name).read_text()
            continue
        book = json.loads(path.read_text())
        committed = json.loads((checkout() / "notebooks" / path.name).read_text())
        assert cells(book) == cells(committed)
        assert not any(cell.get("outputs") for cell in book["cells"])


def cells(book) -> list[tuple]:
    """What a notebook says, without what came of it."""
    return [(cell["cell_type"], cell["source"], cell["metadata"]) for cell in book["cells"]]


def test_a_study_of_ones_own_is_planned_and_its_needs_are_checked_before_it_trains(run, tmp_path):
    Image.new("RGB", (48, 32), (200, 90, 30)).save(tmp_path / "mine.png")
    found = run("""
from xinc_core.study.series import executing
planned = xinc("study", "mine.png", "--dry-run")
executing.libraries = lambda: ["papermill", "no-such-library"]
lacking = xinc("study", "mine.png")
executing.libraries = lambda: []
published = xinc("study", "--in-place")
next(Path(xc.__file__).parent.glob("notebooks/03*")).rename("away.ipynb")
without = xinc("study", "mine.png")
Path("away.ipynb").rename(Path(xc.__file__).parent / "notebooks/03_distributed.ipynb")
print(json.dumps(dict(
    planned=planned, lacking=lacking, without=without, published=published,
    begun=Path("runs").exists(),
)))
""")
    assert found["planned"][0] == 0 and "03_distributed" in found["planned"][2]
    assert found["lacking"][0] == 2 and "needs no-such-library, which is not" in found["lacking"][2]
    assert found["without"][0] == 2 and "03_distributed is not here" in found["without"][2]
    assert found["published"][0] == 2 and "set XINC_DATA" in found["published"][2]
    assert not found["begun"]


def check_sentences(sentences):
    for sentence in sentences:
        assert "set XINC_DATA to the data folder of a whole checkout" in sentence
        assert "installed package carries no data" in sentence and len(sentence.splitlines()) == 1


def test_a_folder_that_is_no_data_folder_is_named(run, tmp_path):
    sentences = run(
        'print(json.dumps([refused(xc.load_clip, "cat"), refused(xc.load_model, "ffn-cat")]))',
        XINC_DATA=str(tmp_path / "elsewhere"),
    )
    assert all("elsewhere' does not hold" in s and "set XINC_DATA" in s for s in sentences)


def test_shipped_data_are_found_through_xinc_data(run):
    found = run(
        """
clip, model = xc.load_clip("bunny"), xc.load_model("nerv-bunny")
print(json.dumps(dict(
    frames=len(clip), psnr=xc.evaluate(model, clip, frames=[0]), models=len(xc.list_models()),
    code=xinc("models")[0],
)))
""",
        XINC_DATA=str(checkout() / "data"),
    )
    assert found["frames"] == 30 and found["psnr"] > 20 and found["models"] > 10
    assert found["code"] == 0
