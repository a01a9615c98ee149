"""``xinc explore``: the explorer in JupyterLab, on a clip and a network."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from xinc_core.util.files import replace_file
from xinc_core.util.text import tell

from .parsing import Parser, size, span

NOTEBOOK = Path("runs/explore.ipynb")
TITLE = "# Which neuron paints which pixel?\n\nRun → Run All Cells opens the explorer."


def add(top: Parser) -> None:
    """Add the subcommand."""
    command = top.command(
        "explore",
        run,
        "open the explorer in JupyterLab, on a clip and a network",
        "xinc explore bunny nerv-bunny",
    )
    command.add_argument(
        "clip",
        completes="clip",
        help="a shipped clip's name, a video, an image, a folder of frames, "
        "or the folder of a study",
    )
    command.add_argument(
        "model",
        nargs="?",
        completes="model",
        help="a model's name or file; default: the clip's first network",
    )
    command.add_argument(
        "--frames",
        type=span,
        metavar="START:STOP:STEP",
        help="of a video: those that the network knows",
    )
    command.add_argument(
        "--size", type=size, metavar="HxW", help="of a video: the size that the network paints"
    )
    command.add_argument(
        "--no-browser", action="store_true", help="write the notebook and say where, open nothing"
    )


@dataclass(frozen=True)
class Subject:
    """What the explorer opens: the clip as an expression, the model's name or file, and the folder
    of the study in which both are looked up, if there is one.
    """

    clip: str
    model: str
    study: Path | None = None

    def code(self) -> str:
        """The notebook's cell."""
        lines = ["import xinc_core as xc", ""]
        if self.study:
            home = f'os.environ["XINC_RUN"] = {str(self.study)!r}'
            lines = ["import os", "", home, *lines]
        lines += [f"clip = {self.clip}", f"model = xc.load_model({self.model!r})"]
        return "\n".join([*lines, "xc.explore(model, clip)"])


def run(args: argparse.Namespace) -> None:
    """Write a notebook with the explorer on this clip and network, and open it in JupyterLab."""
    import nbformat

    study = Path(args.clip)
    subject = _of_study(args, study) if (study / "run.json").is_file() else _of_clip(args)
    cells = [nbformat.v4.new_markdown_cell(TITLE), nbformat.v4.new_code_cell(subject.code())]
    NOTEBOOK.parent.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=cells)
    replace_file(NOTEBOOK, lambda file: nbformat.write(notebook, file))
    tell(NOTEBOOK)
    if not args.no_browser:
        os.execvp(sys.executable, [sys.executable, "-m", "jupyter", "lab", str(NOTEBOOK)])


def _of_study(args: argparse.Namespace, study: Path) -> Subject:
    """The clip and a network of a study; both are loaded once, so that errors come now."""
    import xinc_core as xc
    from xinc_core.util.paths import environment

    study = study.resolve()
    with environment(XINC_RUN=str(study)):
        name = next((study / "clips").glob("*.safetensors")).stem
        own = [path.stem for path in sorted((study / "models").glob(f"*-{name}.safetensors"))]
        model = args.model or _usual(own)
        xc.fitting.check_clip(xc.load_model(model), xc.load_clip(name))
    return Subject(f"xc.load_clip({name!r})", model, study)


def _of_clip(args: argparse.Namespace) -> Subject:
    """A clip and a network of it; both are loaded once, so that errors come now."""
    import xinc_core as xc
    from xinc_core.clips import list_clips
    from xinc_core.storage import find_model

    source = args.clip
    if source not in list_clips():
        source = str(Path(source).resolve())
    frames = args.frames or slice(None)
    options = {}
    if frames.start:
        options["start"] = frames.start
    if frames.stop is not None:
        options["stop"] = frames.stop
    if frames.step not in (None, 1):
        options["step"] = frames.step
    if args.size:
        options["size"] = args.size
    clip = xc.load_clip(source, **options)
    model = args.model or _network_of(clip.name, args.clip)
    xc.fitting.check_clip(xc.load_model(model), clip)
    if not find_model(model):
        model = str(Path(model).resolve())
    words = [repr(source), *(f"{name}={value!r}" for name, value in options.items())]
    return Subject(f"xc.load_clip({', '.join(words)})", model)


def _network_of(clip: str, source: str) -> str:
    """The shipped network of a clip that is opened where none is named."""
    from xinc_core.storage import is_own_fit, list_models

    own = []
    for name, facts in list_models().items():
        if facts.get("clip") == clip and is_own_fit(facts):
            own.append(name)
    if not own:
        raise ValueError(
            f"there is no network of {source!r} yet: fit one (xinc fit {source}) and name its file"
        )
    return _usual(own)


def _usual(names: list[str]) -> str:
    """Of a clip's networks the first that paints all of it, else the first."""
    from xinc_core.models import family
    from xinc_core.storage import list_models

    facts = list_models()
    for name in names:
        if family(facts[name]["family"]).for_video:
            return name
    return names[0]
