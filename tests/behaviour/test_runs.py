"""A study of one's own clip: what is planned, what is left out because it is done, and what an
interruption costs: nothing.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from own_network import GaussianMLP
from PIL import Image

import xinc_core as xc
from xinc_core import clips
from xinc_core.cli import words as cli
from xinc_core.models import FAMILIES, recipe
from xinc_core.study.series import executing, plans, runs
from xinc_core.study.series.plans import Fit, Role
from xinc_core.util.files import locked
from xinc_core.util.paths import environment

SMALL = ["--size", "32x48", "--epochs", "2", "--notebooks", "00"]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A folder of eight frames: a square that walks over a ramp."""
    folder = tmp_path_factory.mktemp("film") / "walk"
    folder.mkdir()
    for t in range(8):
        frame = np.linspace(0, 200, 48, dtype=np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
        frame[10:20, 4 + 3 * t : 14 + 3 * t] = (255, 80, 0)
        Image.fromarray(frame).save(folder / f"{t}.png")
    return folder


def run(capsys, *words):
    code = cli.main([str(w) for w in words])
    return code, *capsys.readouterr()


def planned(source, **options):
    return plans.plan(str(source), **options)


# The plan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, fps, step", [(300, 30.0, 6), (300, 5.0, 1), (20, 30.0, 1), (40, 30.0, 2), (3000, 25.0, 5)]
)
def test_quick_takes_at_most_32_frames_at_most_5_a_second_spread_evenly(n, fps, step, monkeypatch):
    monkeypatch.setattr(plans, "frames_of", lambda source: (n, fps))
    made = planned("film.mp4")
    assert made.frames[2] == step and made.n_frames <= 32
    assert made.n_frames == 32 or n / step < 33
    assert planned("film.mp4", profile="full").n_frames == n
    assert planned("film.mp4", frames=slice(10, 20, 5)).n_frames == 2


def test_a_video_gets_both_kinds_of_network_and_a_picture_the_image_networks(film):
    video, picture = planned(film), planned(film, frames=slice(0, 1))
    assert video.families == ("nerv", "ffn") and "07_motion" in video.notebooks
    assert picture.families == ("ffn",) and not {"06_objects_over_time", "07_motion"} & set(
        picture.notebooks
    )
    with pytest.raises(ValueError, match="one frame"):
        planned(film, frames=slice(0, 1), families=["nerv"])
    for made in (video, picture):
        roles = {(fit.family, fit.role) for fit in made.fits()}
        assert roles == {(family, role) for family in made.families for role in Role}
    nerv, ffn = recipe("nerv", "fast").epochs, recipe("ffn", "fast").epochs
    assert video.epochs == {"nerv": nerv, "ffn": ffn}
    assert planned(film, epochs={"ffn": 7}).epochs == {"nerv": nerv, "ffn": 7}
    as_the_papers = planned(film, recipe="paper")
    assert as_the_papers.epochs == {"nerv": 300, "ffn": 1000}
    assert planned(film, recipe="paper", epochs=30).epochs == {"nerv": 30, "ffn": 100}
    assert planned(film, profile="full").epochs["nerv"] == 2 * nerv


def test_every_seed_is_fitted_and_the_first_has_a_twin_and_a_refit(film):
    fits = list(planned(film, seeds=[4, 2]).fits())
    assert [fit.role for fit in fits if fit.family == "nerv" and fit.seed == 4] == list(Role)
    assert [fit.role for fit in fits if fit.family == "nerv" and fit.seed == 2] == [Role.OWN]
    # the older question about coordinate networks takes a twin for every seed
    assert [fit.role for fit in fits if fit.family == "ffn" and fit.seed == 2] == [
        Role.OWN,
        Role.TWIN,
    ]


def test_a_family_of_ones_own_is_fitted_by_the_recipe_that_it_has(film, monkeypatch):
    monkeypatch.setitem(FAMILIES, "gaussian", GaussianMLP)
    made = planned(film, families=["nerv", "gaussian"])
    assert made.epochs["gaussian"] == recipe("gaussian", "adam").epochs
    assert (made.recipe_of("nerv"), made.recipe_of("gaussian")) == ("fast", "adam")


def test_a_network_whose_header_says_no_recipe_is_fitted_anew(film, tmp_path, monkeypatch):
    made = planned(film, out=tmp_path, size=(32, 48), families=["ffn"], epochs={"ffn": 2})
    clip = xc.load_clip(film, size=(32, 48))
    network = next(made.fits())
    runs.fit_network(made, clip, network)
    file = made.model_path(*network)
    facts = xc.storage.read_header(file)
    kept = {name: facts[name] for name in ("clip", "clip_checksum", "seed", "epochs", "psnr")}
    xc.save_model(xc.load_model(file), file, **kept)
    runs.fit_network(made, clip, network)
    assert xc.storage.read_header(file)["recipe"] == "fast"
    monkeypatch.setattr(runs, "fit_and_save", None)  # nothing is left to be fitted
    runs.fit_network(made, clip, network)


def test_a_clip_never_takes_the_name_of_a_shipped_one(tmp_path):
    assert planned("courtyard").name == "my-courtyard"
    Image.new("RGB", (32, 32)).save(tmp_path / "My Cat, 2.png")
    assert planned(tmp_path / "My Cat, 2.png").name == "my-cat-2"


def test_the_command_in_the_report_asks_for_the_same_plan(film, tmp_path):
    made = planned(
        film,
        out=tmp_path,
        frames=slice(0, 6, 2),
        seeds=[3],
        size=(32, 48),
        epochs=7,
        notebooks=["00", "03"],
    )
    args = cli.parser().parse(made.command.split()[1:])
    again = planned(
        args.clip,
        out=args.out,
        frames=args.frames,
        seeds=args.seeds,
        size=args.size,
        epochs=dict(args.epochs),
        families=[f for w in args.families for f in w],
        profile=args.profile,
        notebooks=args.notebooks,
    )
    assert again == made and "--notebooks" not in planned(film).command


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(film, tmp_path, capsys):
    code, _, told = run(capsys, "study", film, "--out", tmp_path / "run", "--dry-run")
    assert code == 0 and not (tmp_path / "run").exists()
    for word in (
        f"fit nerv, seed 1: {recipe('nerv', 'fast').epochs} epochs",
        f"fit ffn, seed 1, mirrored: {recipe('ffn', 'fast').epochs}",
        "fit ffn, seed 1, once more",
        "09_faithfulness",
        "minutes",
        "MB on disk",
        "full",
    ):
        assert word in told, word


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["study", "FILM", "--epoch", "3"], "did you mean '--epochs'"),
        (["study", "FILM", "--familes", "ffn"], "did you mean '--families'"),
        (["study", "FILM", "--families", "nrv"], "no family 'nrv'"),
        (["study", "FILM", "-p", "frme=3"], "did you mean 'frame'"),
        (["study", "FILM", "--notebooks", "03_distribted"], "did you mean '03_distributed'"),
        (["study", "FILM", "--size", "128"], "HEIGHTxWIDTH"),
        (["study", "FILM", "--frames", "4"], "START:STOP"),
        (["study", "FILM", "--frames", "50:60"], "no frames of"),
        (["study", "FILM", "--seeds", "1", "1"], "seeds that differ"),
        (["study", "FILM", "--epochs", "3", "ffn=4"], "not both"),
        (["study", "FILM", "--epochs", "many"], "NAME=NUMBER"),
        (["study", "FILM", "--fresh"], "--fresh is for the shipped study"),
        (["study", "--masks", "somewhere"], "--masks takes a clip"),
        (["study", "nowhere.mp4"], "nowhere.mp4"),
        (["studdy", "FILM"], "did you mean 'study'"),
        (["trace", "nerv-courtyard", "--layer", "blok3"], "did you mean 'block3'"),
        (["trace", "nerv-courtyard", "--frame", "99"], "outside this model's 40 frames"),
        (["trace", "nerv-courtyard", "--rule", "papr"], "invalid choice"),
        (["explore", "FILM"], "there is no network"),
        (["explore", "bunny", "nerv-courtyard"], "40 frames"),
    ],
)
def test_a_wrong_word_is_refused_with_the_nearest_right_one(words, sentence, film, capsys):
    code, _, error = run(capsys, *(film if w == "FILM" else w for w in words))
    assert code == 2 and sentence in error and error.count("\n") == 1, error


# Carrying it out ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(film, tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "walk"
    assert (
        cli.main(
            [
                "study",
                str(film),
                "--out",
                str(out),
                "--seeds",
                "1",
                "--families",
                "nerv",
                "ffn",
                *SMALL,
            ]
        )
        == 0
    )
    return out


@pytest.mark.slow
def test_a_run_leaves_clip_networks_notebooks_tables_and_a_report(done):
    names = {p.relative_to(done).as_posix() for p in done.rglob("*") if p.is_file()}
    assert {
        "clips/walk.safetensors",
        "models/nerv-walk.safetensors",
        "models/ffn-walk-flip.safetensors",
    } <= names
    assert {
        "notebooks/00_start_here.ipynb",
        "figures/00_start_here.webp",
        "findings.csv",
        "report.html",
        "run.json",
    } <= names
    assert not [n for n in names if n.endswith((".fit.pt", ".parts"))]
    facts = json.loads((done / "run.json").read_text())
    assert (
        facts["clip"]["size"] == [32, 48]
        and facts["clip"]["frames"] == 8
        and facts["epochs"] == {"nerv": 2, "ffn": 10}
        and facts["recipe"] == "fast"
    )
    book = (done / "notebooks" / "00_start_here.ipynb").read_text()
    assert "What walk says stands above" in book and "No single neuron owns a pixel" not in book


@pytest.mark.slow
def test_what_is_done_is_not_done_again(done, film, monkeypatch, capsys):
    monkeypatch.setattr(runs, "fit_and_save", None)
    monkeypatch.setattr(executing, "execute", None)
    before = {p: p.stat().st_mtime_ns for p in done.rglob("*.safetensors")}
    assert (
        run(
            capsys,
            "study",
            film,
            "--out",
            done,
            "--seeds",
            "1",
            "--families",
            "nerv",
            "ffn",
            *SMALL,
        )[0]
        == 0
    )
    assert before == {p: p.stat().st_mtime_ns for p in done.rglob("*.safetensors")}


@pytest.mark.slow
def test_a_folder_holds_one_clip(done, film, capsys):
    code, _, error = run(capsys, "study", film, "--out", done, "--frames", "0:4", *SMALL)
    assert code == 2 and "other frames" in error and error.splitlines()[-1].startswith("xinc: ")


@pytest.mark.slow
def test_two_runs_do_not_share_a_folder(done, film, capsys):
    with locked(done / ".lock"):
        code, _, error = run(capsys, "study", film, "--out", done, "--seeds", "1", *SMALL)
    assert code == 2 and "another run is at work" in error
    assert (
        run(
            capsys,
            "study",
            film,
            "--out",
            done,
            "--seeds",
            "1",
            "--families",
            "nerv",
            "ffn",
            *SMALL,
        )[0]
        == 0
    )


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_an_output_folder_that_cannot_be_made(where, film, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    code, _, error = run(capsys, "study", film, "--out", tmp_path / where, *SMALL)
    assert (
        code == 2
        and "file" in error.splitlines()[-1]
        and (tmp_path / "file").read_text() == "in the way"
    )


def test_a_read_only_folder(film, tmp_path, capsys):
    """Root may write anywhere, so that the refusal of the system itself is played."""

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        code, _, error = run(capsys, "study", film, "--out", tmp_path / "run", *SMALL)
    assert code == 2 and "Permission denied" in error.splitlines()[-1]


@pytest.mark.slow
def test_a_full_disk_keeps_what_was_done(film, tmp_path, capsys, monkeypatch):
    words = ["study", film, "--out", tmp_path / "run", "--seeds", "1", "--families", "nerv", *SMALL]

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    def only_one(plan):
        return iter([Fit("nerv", 1, Role.OWN)])

    monkeypatch.setattr(plans.Plan, "fits", only_one)

    with monkeypatch.context() as patch:
        patch.setattr("xinc_core.storage.fitted.save_model", full)
        code, _, error = run(capsys, *words)
    assert code == 2 and "No space left" in error.splitlines()[-1]
    assert [p.name for p in (tmp_path / "run" / "models").iterdir()] == ["nerv-walk.fit.pt"]
    monkeypatch.setattr(xc.fitting.training, "_step", None)  # nothing is left to be trained
    assert run(capsys, *words)[0] == 0


def started(*words, **variables):
    command = [sys.executable, "-m", "xinc_core.cli", *map(str, words)]
    return subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_killed_at_any_point_the_next_run_ends_as_an_uninterrupted_one(film, tmp_path):
    """kill -9 while fitting, between fits, while a notebook measures; then the same command once
    more.
    """
    words = [
        "--seeds",
        "1",
        "--families",
        "nerv",
        "ffn",
        "--size",
        "32x48",
        "--epochs",
        "30",
        "--notebooks",
        "03",
    ]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = (
        ["study", film, "--out", tmp_path / name, *words] for name in ("whole", "killed")
    )
    assert started(*whole).wait() == 0
    out = tmp_path / "killed"
    for sign in (
        "clips/walk.safetensors",
        "models/nerv-walk.safetensors",
        "results/distributed-walk.json",
    ):
        process = started(*killed)
        end = time.monotonic() + 120
        while not (out / sign).exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (out / sign).exists() and not (out / "report.html").exists()
    assert started(*killed).wait() == 0
    for name in (
        "models/nerv-walk.safetensors",
        "models/ffn-walk.safetensors",
        "findings.csv",
        "results/distributed-walk.json",
    ):
        assert (tmp_path / "whole" / name).read_bytes() == (out / name).read_bytes(), name


# Tracing and exploring ----------------------------------------------------------------------------


def test_trace_writes_the_maps_that_the_layer_has(tmp_path, capsys):
    for what in ("maps", "totals"):
        out = tmp_path / f"{what}.npz"
        words = [
            "trace",
            "ffn-cat",
            "--layer",
            "layer3",
            "--rule",
            "first_order",
            "--what",
            what,
            "-o",
            out,
        ]
        assert run(capsys, *words)[0] == 0
    layer = xc.trace(xc.load_model("ffn-cat"), rule="first_order")["layer3"]
    with np.load(tmp_path / "maps.npz") as found, np.load(tmp_path / "totals.npz") as sums:
        assert (
            torch.equal(torch.from_numpy(found["maps"]), layer.tensor())
            and str(found["layer"]) == "layer3"
        )
        assert np.array_equal(sums["totals"], layer.totals()) and np.array_equal(
            sums["heatmap"], layer.heatmap()
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["maps.npz", "totals.npz"]
    code, _, error = run(capsys, *words)
    assert code == 2 and "exists already" in error


@pytest.mark.slow
def test_a_killed_trace_leaves_no_file_and_no_rest(tmp_path):
    words = [
        "trace",
        "nerv-courtyard",
        "--layer",
        "block3",
        "--what",
        "maps",
        "-o",
        tmp_path / "maps.npz",
    ]
    process = started(*words)
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".xinc-*/*")) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "maps.npz").exists()
    assert started(*words).wait() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["maps.npz"]
    with np.load(tmp_path / "maps.npz") as found:
        assert found["maps"].shape == (2288, 128, 256) and np.isfinite(found["maps"][-1]).all()


def test_maps_that_do_not_fit_on_the_disk_are_refused_first(tmp_path, capsys, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1e6))
    code, _, error = run(capsys, "trace", "ffn-cat", "--what", "maps", "-o", tmp_path / "maps.npz")
    assert code == 2 and "GB are free on this disk" in error and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("words", [["bunny", "nerv-bunny"], ["courtyard"], ["RUN"]])
def test_explore_writes_a_notebook_that_opens_the_explorer(
    words, done, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, path, error = run(
        capsys, "explore", *(done if w == "RUN" else w for w in words), "--no-browser"
    )
    assert code == 0, error
    cells = nbformat.read(path.strip(), 4).cells
    with environment():
        before = os.environ.get("XINC_RUN")
        scope = {}
        exec(
            "\n".join(c.source for c in cells if c.cell_type == "code").replace(
                "xc.explore", "opened = xc.explore"
            ),
            scope,
        )
        os.environ.pop("XINC_RUN", None) if before is None else None
    assert scope["opened"].images["contribution map"].value[:4] == b"\x89PNG"


def test_a_saved_clip_is_the_clip(tmp_path):
    clip = xc.load_clip("courtyard")[2:5]
    clips.save_clip(clip, tmp_path / "part.safetensors")
    again = xc.load_clip(tmp_path / "part.safetensors")
    assert torch.equal(again.frames, clip.frames) and torch.equal(again.labels, clip.labels)
    assert (again.segments, again.fps, again.name, again.checksum) == (
        clip.segments,
        clip.fps,
        clip.name,
        clip.checksum,
    )
