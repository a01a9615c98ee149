"""A sweep over videos: what is refused first, what a kill and a failure cost, and what is said
over videos.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from xinc_core.cli import words as cli
from xinc_core.study import figures
from xinc_core.study.answers import verdicts
from xinc_core.study.answers.over_clips import (
    ALL,
    VIDEO_COLUMNS,
    counts,
    laws_over_videos,
    over_videos,
)
from xinc_core.study.answers.table import COLUMNS, findings_table
from xinc_core.study.findings import distributed
from xinc_core.study.findings.registry import measured_in
from xinc_core.study.measuring import store
from xinc_core.study.series import folder, plans, runs, steps, sweep
from xinc_core.study.series.notebooks import SERIES
from xinc_core.study.statistics import intervals
from xinc_core.util.files import locked
from xinc_core.util.paths import environment, import_folder, notebooks_folder

pytestmark = pytest.mark.slow

SMALL = [
    "--seeds",
    "1",
    "10",
    "--families",
    "ffn",
    "--size",
    "32x48",
    "--epochs",
    "2",
    "--notebooks",
    "00",
    "03",
    "--cores",
    "2",
]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Three folders of six frames, two of one name: a square that walks over a ramp."""
    root = tmp_path_factory.mktemp("films")
    for number, name in enumerate(("a/walk", "b/walk", "hill")):
        (root / name).mkdir(parents=True)
        for t in range(6):
            frame = (
                np.linspace(0, 200, 48, dtype=np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
            )
            frame = np.roll(frame, 7 * number, 1)
            frame[10:20, 4 + 3 * t : 14 + 3 * t] = (255, 80 * number, 0)
            Image.fromarray(frame).save(root / name / f"{t}.png")
    return [root / "a/walk", root / "b/walk", root / "hill"]


def words(films, out, *more):
    return ["sweep", "--clips", *map(str, films), "--out", str(out), *SMALL, *map(str, more)]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# Before anything starts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, sentence",
    [
        (["--sedes", "3"], "did you mean '--seeds'"),
        (["--families", "nrv"], "no family 'nrv'"),
        (["--notebooks", "03_distribted"], "did you mean '03_distributed'"),
        (["--cores", "0"], "at least one core"),
        (["--clips", "nowhere.mp4"], "nowhere.mp4"),
        (["--clips", "TWICE"], "named twice"),
        (["stray"], "does not know what to do with 'stray'"),
    ],
)
def test_bad_input_ends_in_one_sentence_before_anything_starts(
    change, sentence, films, tmp_path, capfd
):
    change = (
        change
        if change != ["--clips", "TWICE"]
        else ["--clips", str(films[0]), f"{films[0]}/../walk"]
    )
    stray = change if change == ["stray"] else []
    assert (
        cli.main(
            [
                *words(films, tmp_path / "out")[:1],
                *stray,
                *words(films, tmp_path / "out")[1:],
                *(change if not stray else []),
            ]
        )
        == 2
    )
    error = capfd.readouterr().err
    assert sentence in error and error.count("\n") == 1 and not (tmp_path / "out").exists(), error


def test_without_snakemake_one_sentence_says_how_to_install_it(films, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sweep.importlib.util, "find_spec", lambda name: None)
    assert cli.main(words(films, tmp_path / "out")) == 2
    error = capfd.readouterr().err
    assert "pip install" in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "more",
    [[], ["--executor", "slurm", "--", "--default-resources", "slurm_account=lab", "runtime=60"]],
)
def test_a_dry_run_lists_the_jobs_and_writes_nothing(more, films, tmp_path, capfd):
    """On a cluster too: Snakemake builds the jobs with their resources and submits none."""
    assert cli.main(words(films, tmp_path / "out", "--dry-run", *more)) == 0
    told, error = capfd.readouterr()
    assert (
        "walk-2 (6 frames)" in told
        and "15 fits, 6 notebooks" in told
        and not (tmp_path / "out").exists()
    )
    for rule, n in dict(clip=3, fit=15, trace=6, notebook=6, report=3, summary=1).items():
        assert re.search(rf"^{rule} +{n}$", error, re.M), error


def test_a_clip_keeps_its_folder_in_whatever_order_it_comes(films, tmp_path):
    options = dict(size=(32, 48), families=["ffn"])
    first = sweep._plans([str(f) for f in films], tmp_path, options, {})
    assert list(first) == ["walk", "walk-2", "hill"] and {p.name for p in first.values()} == {
        "walk",
        "hill",
    }
    held = json.loads(
        json.dumps(
            {n: dict(source=p.source, frames=p.frames, size=p.size) for n, p in first.items()}
        )
    )
    again = sweep._plans([str(films[1]), str(films[0])], tmp_path, options, held)
    assert {n: p.source for n, p in again.items()} == {
        n: first[n].source for n in ("walk-2", "walk")
    }
    with pytest.raises(ValueError, match="other size"):
        sweep._plans([str(films[0])], tmp_path, dict(options, size=(48, 48)), held)


def test_every_step_says_its_threads_memory_and_log(films, tmp_path):
    made = plans.plan(str(films[0]), tmp_path, families=["ffn"], notebooks=["00", "12"])
    listed = [*steps.steps_of(made, in_sweep=True), steps.summary_of(["walk"])]
    assert {step.kind for step in listed} == set(steps.StepKind)
    assert all(step.threads == 1 and step.memory_mb >= 1000 and step.log for step in listed)
    rule = (notebooks_folder() / "Snakefile").read_text().rpartition("    rule:")[2]
    assert all(word in rule for word in ("threads:", "mem_mb=", "said="))


def test_a_step_comes_after_all_that_it_needs(films, tmp_path):
    made = plans.plan(str(films[0]), tmp_path, families=["ffn"], notebooks=["00", "03", "12"])
    there = set()
    for step in steps.steps_of(made, in_sweep=True):
        assert there.issuperset(step.inputs), step
        there.update(step.outputs)
    last = steps.steps_of(made)[-2]
    assert "notebooks/.03_distributed.done" in last.inputs, "12 reads the tables of the others"
    alone = [step for step in steps.steps_of(made, True) if step.kind is not steps.StepKind.TRACE]
    assert [step.label for step in alone] == [step.label for step in steps.steps_of(made)]


# Carried out --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(films, tmp_path_factory):
    """A sweep that is killed, run again with a fit and a notebook that cannot end, and run once
    more without these obstacles.
    """
    out = tmp_path_factory.mktemp("sweeps") / "out"
    obstacles = [
        out / "hill/models/ffn-hill-s10.fit.pt",
        out / "walk-2/figures/00_start_here.webp",
    ]  # folders in a file's place
    for obstacle in obstacles:
        obstacle.mkdir(parents=True)
    started = subprocess.Popen(
        [sys.executable, "-m", "xinc_core.cli", *words(films, out)],
        env=os.environ | dict(PYTHONPATH=str(import_folder())),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while (
        not list(out.glob("*/models/*.safetensors"))
        and started.poll() is None
        and time.monotonic() < end
    ):
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    orphaned = refused(out)
    os.killpg(started.pid, signal.SIGKILL)
    while refused(out) and time.monotonic() < end:
        time.sleep(0.02)
    seen = SimpleNamespace(out=out, killed=times(out), code=started.returncode, orphaned=orphaned)
    for name in ("failed", "whole", "idle"):
        done = subprocess.run(
            [sys.executable, "-m", "xinc_core.cli", *words(films, out)],
            capture_output=True,
            text=True,
            env=os.environ | dict(PYTHONPATH=str(import_folder())),
        )
        kept = {
            p: p.read_text()
            for p in (out / "summary.txt", out / "walk-2/notebooks/00_start_here.ipynb")
        }
        setattr(
            seen,
            name,
            SimpleNamespace(
                code=done.returncode, out=done.stdout, err=done.stderr, times=times(out), kept=kept
            ),
        )
        for obstacle in obstacles:
            if obstacle.is_dir():
                obstacle.rmdir()
    return seen


def refused(out):
    try:
        with locked(out / ".lock", wait=False):
            return False
    except BlockingIOError:
        return True


def times(out):
    made = [
        *out.glob("*/models/*.safetensors"),
        *out.glob("*/notebooks/*.ipynb"),
        *out.glob("*/report.html"),
        *out.glob("*.csv"),
    ]
    return {p.relative_to(out).as_posix(): p.stat().st_mtime_ns for p in made if p.is_file()}


def test_the_lock_lasts_while_snakemake_lives(swept):
    """Killed alone, the command leaves a Snakemake that goes on: a second sweep beside it would
    be refused.
    """
    assert swept.orphaned


def test_after_a_kill_only_what_is_missing_is_done(swept):
    assert swept.code == -signal.SIGKILL and 0 < len(swept.killed) < 12
    kept = [name for name in swept.killed if swept.failed.times.get(name) == swept.killed[name]]
    assert (
        len(kept) >= len(swept.killed) - 2
    )  # of the two that were at work, Snakemake trusts no file
    assert "unlock" not in swept.failed.err.lower()


def test_a_failure_is_named_and_costs_the_others_nothing(swept):
    assert swept.failed.code == 2
    last = swept.failed.err.splitlines()[-1]
    assert last.startswith("xinc: 2 steps failed; 1 of 3 videos are done: ")
    assert (
        "hill, fit ffn-hill-s10: " in last
        and "walk-2, notebook 00_start_here: " in last
        and "03_distributed" not in last
    )
    assert swept.failed.kept[swept.out / "summary.txt"].startswith("1 video: walk\n")
    assert "walk/report.html" in swept.failed.times and "hill/report.html" not in swept.failed.times


def test_the_executed_notebook_is_kept_when_it_fails(swept):
    book = json.loads(swept.failed.kept[swept.out / "walk-2/notebooks/00_start_here.ipynb"])
    outputs = [o for c in book["cells"] if c["cell_type"] == "code" for o in c["outputs"]]
    assert [o["ename"] for o in outputs if o["output_type"] == "error"] == ["IsADirectoryError"]


def test_the_obstacles_gone_the_rest_is_done_and_then_nothing(swept):
    assert swept.whole.code == 0, swept.whole.err
    done_before = {
        n: t for n, t in swept.failed.times.items() if n.startswith("walk/") or "/models/" in n
    }
    assert {n: swept.whole.times[n] for n in done_before} == done_before
    assert (
        "3 videos: walk, walk-2, hill" in swept.whole.out
        and "fewer than 6 videos" in swept.whole.out
    )
    assert (
        swept.idle.code == 0
        and swept.idle.times == swept.whole.times
        and "Nothing to be done" in swept.idle.err
    )


def test_a_video_of_a_sweep_is_a_run_folder(swept, films, capfd, monkeypatch, tmp_path):
    """`xinc study` finds everything done in it, and `xinc explore` opens it."""
    run, monkey = swept.out / "walk-2", monkeypatch
    names = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert {
        "clips/walk.safetensors",
        "models/ffn-walk-s10-flip.safetensors",
        "figures/03_findings.csv",
        "run.json",
    } <= names
    assert json.loads((run / "run.json").read_text())["seconds"].keys() >= {
        "fit ffn, seed 1, mirrored",
        "03_distributed",
    }
    monkey.setattr(runs, "fit_and_save", None)
    monkey.setattr("xinc_core.study.series.executing.execute", None)
    small = SMALL[: SMALL.index("--cores")]
    assert cli.main(["study", str(films[1]), "--out", str(run), *small]) == 0, (
        capfd.readouterr().err
    )
    monkey.chdir(tmp_path)
    assert cli.main(["explore", str(run), "--no-browser"]) == 0


def test_traces_are_the_layers_sums_under_both_rules(swept):
    import xinc_core as xc

    with (
        environment(XINC_RUN=str(swept.out / "hill")),
        np.load(swept.out / "hill/traces/ffn-hill-s10.npz") as found,
    ):
        model = xc.load_model("ffn-hill-s10")
        for rule in ("paper", "first_order"):
            layer = xc.trace(model, 0, rule)[str(found["layer"])]
            for name, again in {"totals": layer.totals(), "heatmap": layer.heatmap()}.items():
                largest = float(
                    again.abs().max()
                )  # another number of threads adds in another order
                assert np.abs(found[f"{rule}_{name}"] - again.numpy()).max() <= 1e-6 * largest


def test_the_table_over_videos_averages_the_videos_tables(swept):
    each, over = rows_of(swept.out / "videos.csv"), rows_of(swept.out / "findings.csv")
    assert tuple(over[0]) == VIDEO_COLUMNS and set(VIDEO_COLUMNS) == {*COLUMNS, "n_videos"}
    assert {row["clip"] for row in each} == {"walk", "walk-2", "hill"}
    checked = 0
    for row in over:
        if row["family"] == "planted" or row["layer"] == "all":
            continue
        same = [
            float(r["value"])
            for r in each
            if all(r[k] == row[k] for k in ("finding", "family", "layer", "rule", "statistic"))
        ]
        assert (
            float(row["value"]) == pytest.approx(np.mean(same), rel=2e-3)
            and len(same) == int(row["n_videos"]) == 3
        )
        assert row["n_units"] == "6" and row["verdict"] == ""
        low, high = intervals.interval(same)
        assert float(row["low"]) == pytest.approx(low, rel=1e-2, abs=2e-3) and float(
            row["high"]
        ) == pytest.approx(high, rel=1e-2, abs=2e-3)
        checked += 1
    assert checked > 20
    assert (swept.out / "figures/findings_over_videos.png").stat().st_size > 5000


def test_a_sweep_at_work_is_alone_in_its_folder(swept, films, capfd):
    with locked(swept.out / ".lock"):
        assert cli.main(words(films, swept.out)) == 2
    assert "another sweep is at work" in capfd.readouterr().err


def test_steps_share_a_run_folder_that_a_whole_run_has_alone(films, tmp_path):
    made = plans.plan(str(films[0]), tmp_path / "run")
    with folder.at_work(made, shared=True), folder.at_work(made, shared=True):
        with pytest.raises(ValueError, match="another run is at work"), folder.at_work(made):
            pass
    with (
        folder.at_work(made),
        pytest.raises(ValueError, match="another run is at work"),
        folder.at_work(made, shared=True),
    ):
        pass


# The store, written by several at once ------------------------------------------------------------


@pytest.mark.parametrize("guarded", [True, False])
def test_two_that_store_at_once_lose_nothing_and_would_without_the_lock(
    guarded, tmp_path, monkeypatch
):
    slow = store.written
    monkeypatch.setattr(store, "written", lambda entries: time.sleep(0.3) or slow(entries))
    if not guarded:
        monkeypatch.setattr(store, "locked", lambda path: nullcontext())

    def remember(number):
        address = store.Address("f", "c", str(number), dict(n=number))
        store.Store(tmp_path).remember(address, lambda: {"layer": {"x": float(number)}})

    both = [threading.Thread(target=remember, args=(number,)) for number in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(json.loads((tmp_path / "f-c.json").read_text())) == (2 if guarded else 1)


# Over videos --------------------------------------------------------------------------------------


def measured(n_videos, seeds=(1, 10), spread=0.02, level=0.4, seed=0):
    """A long table as of the distributed finding: the first seed on three frames, the others on
    one; planted trials; no bias.
    """
    rng, rows = np.random.default_rng(seed), []
    for video in range(n_videos):
        about = dict(clip=f"v{video}", family="nerv", rule="paper", layer="block1")
        mean = level + spread * rng.standard_normal()
        for number, s in enumerate(seeds):
            for frame in range(3 if number == 0 else 1):
                for variant in ("trained", "untrained", "no bias")[: 3 if frame == 0 else 1]:
                    value = mean + 0.01 * rng.standard_normal()
                    for name in ("effective_neurons", "effective_pixels"):
                        rows.append(
                            about
                            | dict(
                                seed=s, variant=variant, frame=frame, statistic=name, value=value
                            )
                        )
        for case, value in (("all alike", 1.0), ("one neuron per pixel", 0.01)):
            for s in range(3):
                rows.append(
                    dict(
                        clip=f"v{video}",
                        family="planted",
                        rule="all",
                        layer=case,
                        seed=s,
                        variant="trained",
                        frame=0,
                        statistic="effective_neurons",
                        value=value,
                    )
                )
    return pd.DataFrame(rows)


def row_of(rows, **about):
    found = rows
    for column, value in about.items():
        found = found[found[column] == value]
    (row,) = found.to_dict("records")
    return row


def test_a_video_counts_once_by_its_mean_over_seeds():
    """Literally: frames first, then seeds, then the interval over videos."""
    table = measured(7)
    row = row_of(
        over_videos(table, [distributed.FINDING]),
        layer="block1",
        statistic="effective_neurons",
        finding="distributed",
    )
    means = []
    for video in range(7):
        fits = []
        for s in (1, 10):
            own = table[
                (table["clip"] == f"v{video}")
                & (table.seed == s)
                & (table.variant == "trained")
                & (table.family == "nerv")
            ]
            fits.append(own[own.statistic == "effective_neurons"].value.mean())
        means.append(sum(fits) / 2)
    assert row["value"] == pytest.approx(np.mean(means), rel=1e-12)
    assert (row["low"], row["high"]) == pytest.approx(intervals.interval(means), rel=1e-12)
    assert (row["n_units"], row["n_videos"], row["clip"]) == (14, 7, ALL)


@pytest.mark.parametrize(
    "n_videos, level, verdict",
    [(6, 0.4, "reproduced"), (5, 0.4, ""), (6, 0.1, "not reproduced"), (6, 0.25, "undecided")],
)
def test_claims_are_judged_over_videos_from_six_on(n_videos, level, verdict):
    rows = over_videos(measured(n_videos, level=level, spread=0.02), [distributed.FINDING])
    assert row_of(rows, finding="distributed", layer="all", family="nerv")["verdict"] == verdict


def test_one_seed_and_frame_per_video_is_judged_as_so_many_seeds_of_one_clip():
    table = measured(8, seeds=(1,))
    table = table[table.frame == 0]
    alone = table.assign(seed=table["clip"].str[1:].astype(int), clip="one")
    alone = pd.concat(
        [
            alone[alone.family != "planted"],
            table[(table.family == "planted") & (table["clip"] == "v0")].assign(clip="one"),
        ]
    )
    want, got = (
        verdicts.judge(alone, [distributed.FINDING]),
        over_videos(table, [distributed.FINDING]),
    )
    same = ["finding", "family", "layer", "rule", "statistic", "verdict", "holds"]
    pd.testing.assert_frame_equal(want[same], got[same])
    pd.testing.assert_series_equal(want["value"], got["value"])


def test_a_planted_trial_that_fails_in_one_video_takes_the_verdict():
    table = measured(6)
    broken = (
        (table.family == "planted")
        & (table.layer == "all alike")
        & (table["clip"] == "v3")
        & (table.seed == 1)
    )
    table.loc[broken, "value"] = 0.0
    assert (
        row_of(
            over_videos(table, [distributed.FINDING]),
            finding="distributed",
            layer="all",
            family="nerv",
        )["verdict"]
        == "no verdict"
    )


def test_a_law_holds_where_it_holds_in_all_videos():
    about = dict(
        finding="decomposition",
        family="ffn",
        layer="layer1",
        rule="paper",
        statistic="completeness_error_below",
        value=1e-05,
    )
    rows = [about | dict(clip=f"v{n}", holds=True, verdict="reproduced") for n in range(6)]
    table = findings_table(rows)
    (over,) = laws_over_videos(table).to_dict("records")
    assert over["verdict"] == "reproduced"
    assert counts(table) == {("decomposition", "ffn", "paper"): {"reproduced": 6}}
    rows[2] |= dict(holds=False, verdict="not reproduced")
    table = findings_table(rows)
    assert list(laws_over_videos(table).verdict) == ["not reproduced"]
    assert list(laws_over_videos(table[:5]).verdict) == [""]


def test_the_figure_stacks_as_many_videos_as_there_are():
    counted = {
        ("distributed", f, r): {"reproduced": 3, "partly": 1}
        for f in ("ffn", "nerv")
        for r in ("paper", "first_order")
    }
    counted["motion_dominates", "nerv", "paper"] = {"not reproduced": 4}
    fig = figures.across_videos(counted, 4)
    assert len(fig.axes) == 4
    widths = {tuple(p.get_facecolor()): p.get_width() for p in fig.axes[0].patches if p.get_width()}
    colors = {to_rgba(figures.VERDICT_COLORS[w]): n for w, n in (("reproduced", 3), ("partly", 1))}
    assert widths == colors


def test_the_summary_measures_what_the_notebooks_measure():
    """A notebook names the findings that the registry says it measures, and no other."""
    for notebook in SERIES:
        cells = json.loads(notebook.path.read_text())["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        named = [f.name for f in measured_in(notebook.number)]
        assert bool(named) is ("measure(" in code), notebook.name
        for name in named:
            assert re.search(rf"\b{name}\b", code), (notebook.name, name)
