"""A study from a wheel, as somebody makes it who has no checkout.

    python tests/wheel_study.py [FOLDER]

It builds the wheel of the tracked files, installs it with ``constraints.txt`` into a fresh
environment, leaves the checkout, draws a short video and runs ``xinc study`` on it for two epochs.
Then it looks at what was made: every notebook executed, figures, verdicts, the report; and at
where the package lies: nothing may have been written there. ``make wheel-study`` runs it.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGED = ("xinc_core", "notebooks", "pyproject.toml", "setup.py", "MANIFEST.in")
PACKAGED += ("README.md", "LICENSE", "data/videos.json", "data/photographs.json", "data/masks")

# What the fresh environment runs: a disc that crosses a slanted ramp, 4 frames.
DRAW = """
import av, numpy as np
row, col = np.mgrid[:48, :64]
with av.open("film.mp4", "w") as film:
    stream = film.add_stream("mpeg4", rate=5)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for t in range(4):
        picture = np.stack([3 * row, 2 * col, row + col], -1).astype(np.uint8)
        picture[(row - 24) ** 2 + (col - 12 - 10 * t) ** 2 < 81] = (230, 60, 40)
        film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    film.mux(stream.encode())
"""
ROLES = ("", "-flip", "-refit")  # a network, its twin and its refit
# The fewest that have everything: both families, measurements, figures, verdicts, the explorer.
NOTEBOOKS = ("00", "03", "07")
STUDY = ("film.mp4", "--out", "run", "--epochs", "2", "--seeds", "1", "--size", "48x64")


def main() -> None:
    """Build, install, leave, study, look; with the seconds that each took."""
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1]).resolve()
        folder.mkdir(parents=True)
        wheel_study(folder)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            wheel_study(Path(scratch))


def wheel_study(folder: Path) -> None:
    """All of it, in a folder that is empty."""
    wheel = timed("build the wheel", build_wheel, folder)
    python = timed("install it into a fresh environment", install, wheel, folder / "environment")
    away = folder / "away"
    away.mkdir()
    before = files_beside(python)
    timed("study a short video", study, python, away)
    n_findings = check_run(away / "run")
    changed = {path for path, _ in before ^ files_beside(python)}
    assert not changed, f"written beside the package's code: {sorted(changed)}"
    print(f"a study of {n_findings} rows of findings, from {wheel.name}")


def timed(what: str, step, *arguments):
    """Do a step and say how long it took, and how long processors were busy with it."""
    start, busy = time.monotonic(), busy_seconds()
    result = step(*arguments)
    took, computed = time.monotonic() - start, busy_seconds() - busy
    print(f"{what}: {took:.0f} s ({computed:.0f} s of computing)", flush=True)
    return result


def busy_seconds() -> float:
    """Processor time of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(*command, cwd: Path, **variables: str) -> None:
    """A command without this project's variables; what it said only if it fails."""
    kept = {}
    for name, value in os.environ.items():
        if not name.startswith(("XINC_", "PYTHON")):
            kept[name] = value
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(map(str, command))}: exit status {done.returncode}")


def build_wheel(folder: Path, *options: str) -> Path:
    """The wheel of the tracked files alone, built in ``folder``, with further options of pip."""
    source, wheels = folder / "source", folder / "wheel"
    listed = subprocess.run(
        ["git", "ls-files", "-z", *PACKAGED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    wheels.mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", source, "--no-deps", *options, "-w", wheels, cwd=wheels)
    (wheel,) = wheels.glob("xinc_core-*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    """Install with all that notebooks need; the environment's Python."""
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
    constraints = ROOT / "constraints.txt"
    run(*pip, "-c", constraints, f"{wheel}[notebooks]", cwd=wheel.parent)
    return python


def study(python: Path, away: Path) -> None:
    """Draw the video and study it, from a folder that knows nothing of the checkout."""
    run(python, "-c", DRAW, cwd=away)
    xinc = python.with_name("xinc")
    run(xinc, "study", *STUDY, "--notebooks", *NOTEBOOKS, cwd=away, TQDM_DISABLE="1")


def check_run(folder: Path) -> int:
    """Look at all that a study leaves; the number of its findings."""
    facts = json.loads((folder / "run.json").read_text())
    assert facts["clip"]["frames"] == 4 and facts["clip"]["size"] == [48, 64], facts["clip"]
    assert set(facts["epochs"]) == {"nerv", "ffn"}, facts["epochs"]
    models = {path.stem for path in (folder / "models").glob("*.safetensors")}
    fitted = {f"nerv-film{role}" for role in ROLES} | {f"ffn-film{role}" for role in ROLES}
    assert models == fitted, models
    notebooks = sorted((folder / "notebooks").glob("*.ipynb"))
    assert [path.name[:2] for path in notebooks] == [*NOTEBOOKS], notebooks
    for path in notebooks:
        check_executed(path)
        assert list((folder / "figures").glob(f"{path.name[:2]}_*.*")), f"no figure of {path.stem}"
    with (folder / "findings.csv").open() as file:
        findings = list(csv.DictReader(file))
    families = {row["family"] for row in findings}
    assert {"nerv", "ffn"} <= families and {row["clip"] for row in findings} == {"film"}
    report = (folder / "report.html").read_text()
    assert "film" in report and len(report) > 100_000
    return len(findings)


def check_executed(path: Path) -> None:
    """Every cell of code was run, and none failed."""
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["execution_count"], f"a cell of {path.name} was not run"
            kinds = {output["output_type"] for output in cell["outputs"]}
            assert "error" not in kinds, f"a cell of {path.name} failed"


def files_beside(python: Path) -> set[tuple[str, int]]:
    """All files of the environment's libraries with their times; not what Python compiles."""
    (libraries,) = (python.parent.parent / "lib").glob("python*/site-packages")
    found = set()
    for path in libraries.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            found.add((str(path), path.stat().st_mtime_ns))
    return found


if __name__ == "__main__":
    main()
