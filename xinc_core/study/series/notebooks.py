"""The notebook series as data, and its execution headless with papermill.

To add a notebook: put the file into ``notebooks/`` and a row into ``SERIES``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xinc_core.study.answers.table import join_findings
from xinc_core.study.measuring.store import take_over
from xinc_core.util.files import replace_file
from xinc_core.util.paths import checkout, environment, notebooks_folder, results
from xinc_core.util.progress import progress_bar
from xinc_core.util.suggest import unknown

TIMEOUT = 1200  # seconds a single cell may take


@dataclass(frozen=True)
class Notebook:
    """One question of the series."""

    name: str
    question: str
    claim: str = ""
    needs_video: bool = False
    cost: float = 0.0  # seconds to measure one network's frame under both rules, on two CPU cores: for estimates

    @property
    def path(self) -> Path:
        return notebooks_folder() / f"{self.name}.ipynb"


SERIES = (
    Notebook(
        "00_start_here", "Which neuron paints which pixel?", "the contribution map (section 3)"
    ),
    Notebook(
        "01_fit_a_network",
        "How does a network learn a picture?",
        "the networks (section 4.1)",
        cost=1.4,
    ),
    Notebook(
        "02_contribution_maps",
        "What do a network's maps look like, and do they add up?",
        "the canvas (section 3)",
        cost=1.6,
    ),
    Notebook(
        "03_distributed",
        "How many neurons paint a pixel?",
        "the representation is distributed (section 4.2)",
        cost=7.5,
    ),
    Notebook(
        "04_intensity_and_edges",
        "Do neurons care about more than brightness?",
        "heatmaps and edges (section 4.3)",
        cost=3.7,
    ),
    Notebook(
        "05_what_neurons_care_about",
        "What do neurons care about: colour, edges or place?",
        "colour and edges over space (section 4.4)",
        cost=6.7,
    ),
    Notebook(
        "06_objects_over_time",
        "Do neurons follow objects?",
        "objects over time (section 4.5)",
        True,
        5.0,
    ),
    Notebook(
        "07_motion",
        "Is change over time dominated by motion?",
        "fluctuation and motion (section 4.6)",
        True,
        7.2,
    ),
    Notebook(
        "08_neuron_groups", "Do neurons come in kinds?", "groups of neurons (section 4.7)", cost=5.8
    ),
    Notebook(
        "09_faithfulness",
        "Do the maps tell the truth?",
        "an audit against ablation (beyond the paper)",
        cost=6.6,
    ),
    Notebook(
        "10_compression", "What can be left out?", "pruning, quantisation, files (beyond the paper)"
    ),
    Notebook(
        "11_diagnosis", "What is wrong with this network?", "faults and errors (beyond the paper)"
    ),
    Notebook("12_findings", "Which of the paper's findings survive?", "all verdicts"),
    Notebook(
        "13_your_own_network",
        "How do I open a network of my own?",
        "nothing: how a family is added",
    ),
)


def run_study(
    names: list[str] | None = None,
    out: str | Path = "runs/study",
    figures: str | Path | None = None,
    parameters: dict | None = None,
    in_place: bool = False,
    fresh: bool = False,
    progress: bool = True,
) -> Path:
    """Run the series (or the notebooks whose names begin with one of ``names``) and join the
    findings table.

    Executed copies go to ``out``, or over the originals with ``in_place``; figures and tables to
    ``figures``: by default the project's own, but ``out/figures`` with other parameters, so that
    the committed ones stay. With ``fresh`` no stored measurement is read: everything is measured
    anew, and stored once all notebooks are done. Returns the path of the joined ``findings.csv``.

    Raises
    ------
    ValueError
        For a notebook or a parameter that does not exist, naming the nearest that does.
    RuntimeError
        For a notebook that fails, naming the cell and where the executed copy lies.
    """
    chosen = chosen_notebooks(names)
    check_parameters(names, parameters or {})
    out = Path(out)
    figures = figures or (out / "figures" if parameters else (checkout() or Path()) / "figures")
    out.mkdir(parents=True, exist_ok=True)
    anew = out / "measured"
    if fresh:
        shutil.rmtree(anew, ignore_errors=True)
    with environment(
        XINC_FIGURES=str(Path(figures).resolve()),
        XINC_RESULTS=str((anew if fresh else results()).resolve()),
    ):
        bar = progress_bar(chosen, disable=not progress, unit="notebook")
        for notebook in bar:
            bar.set_description(notebook.name)
            target = notebook.path if in_place else out / notebook.path.name
            _execute(notebook, notebook.path, target, parameters or {}, notebooks_folder())
            if in_place:
                _tidied(target)
        table = join_findings()
    if fresh:
        take_over(anew)
    return table


def chosen_notebooks(names: Sequence[str] | None) -> list[Notebook]:
    """The notebooks whose names begin with one of ``names``; all for None. An unknown one is
    refused with the nearest.
    """
    if not names:
        return list(SERIES)
    for name in names:
        if not any(n.name.startswith(name) for n in SERIES):
            raise ValueError(unknown("notebook", name, [n.name for n in SERIES]))
    return [n for n in SERIES if n.name.startswith(tuple(names))]


def check_parameters(names: Sequence[str] | None, parameters: dict) -> None:
    """Refuse a parameter that none of these notebooks has: papermill only warns of it."""
    known = (
        {p: None for notebook in chosen_notebooks(names) for p in _known(notebook)}
        if parameters
        else {}
    )
    for name in parameters:
        if name not in known:
            raise ValueError(unknown("parameter of these notebooks", name, list(known)))


def _known(notebook: Notebook) -> list[str]:
    import papermill

    return list(papermill.inspect_notebook(str(notebook.path)))


def execute_for(notebook: Notebook, target: Path, parameters: dict, clip: str, key: str) -> None:
    """Run a notebook of the series on somebody's own clip, unless ``target`` was executed under the
    same key.

    It takes those of the parameters that it has. What it says of the shipped clips (cells tagged
    ``shipped``) is left out, and its pictures are this clip's.
    """
    import nbformat

    if target.exists() and _key(target) == key:
        return
    book = nbformat.read(notebook.path, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(
                r"(\]\(\.\./figures/\w+?)_(courtyard)(\.(?:png|webp)\))", rf"\1_{clip}\3", cell.source
            )
            if "shipped" in cell.metadata.get("tags", []):
                cell.source = f"What {clip} says stands above; what the shipped clips say, in the project's own notebooks."
    source = target.with_name(f".{target.name}")
    nbformat.write(book, source)
    try:
        _execute(notebook, source, target, parameters, target.parent)
    finally:
        source.unlink(missing_ok=True)
    book = nbformat.read(target, as_version=4)
    book.metadata["xinc"] = key
    replace_file(target, lambda f: nbformat.write(book, f))


def _key(path: Path) -> str | None:
    try:
        return json.loads(path.read_text())["metadata"].get("xinc")
    except (OSError, ValueError, KeyError):
        return None


def _execute(
    notebook: Notebook, source: Path, target: Path, parameters: dict, folder: Path
) -> None:
    """Run with papermill, in ``folder``, with those of the parameters that it has; the kernel is
    this Python.
    """
    import papermill

    known = _known(notebook) if parameters else []
    parameters = {k: v for k, v in parameters.items() if k in known}
    options = dict(
        kernel_name="python3",
        cwd=str(folder),
        execution_timeout=TIMEOUT,
        progress_bar=False,
        log_output=False,
    )
    options["extra_arguments"] = ["--IPKernelApp.log_level=40"]
    try:
        with environment(
            TQDM_DISABLE="1"
        ):  # nobody watches, and a bar would stay among the outputs
            papermill.execute_notebook(str(source), str(target), parameters, **options)
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(
            f"{notebook.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}; see {str(target)!r}"
        ) from None


def _tidied(path: Path) -> None:
    """Drop what differs from run to run and machine to machine, times and paths."""
    import nbformat

    book = nbformat.read(path, as_version=4)
    book.metadata.pop("papermill", None)
    for cell in book.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags", True):
            cell.metadata.pop("tags")
    nbformat.write(book, path)
