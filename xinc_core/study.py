"""The notebook series as data, and its execution headless with papermill.

To add a notebook: put the file into ``notebooks/`` and a row into ``SERIES``.
"""

from __future__ import annotations

import difflib
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from .findings import join_findings
from .paths import ROOT, results

NOTEBOOKS = ROOT / "notebooks"
TIMEOUT = 1200  # seconds a single cell may take


@dataclass(frozen=True)
class Notebook:
    """One question of the series."""

    name: str
    question: str
    claim: str = ""

    @property
    def path(self) -> Path:
        return NOTEBOOKS / f"{self.name}.ipynb"


SERIES = (
    Notebook("00_start_here", "Which neuron paints which pixel?", "the contribution map (section 3)"),
    Notebook("01_fit_a_network", "How does a network learn a picture?", "the networks (section 4.1)"),
    Notebook("02_contribution_maps", "What do a network's maps look like, and do they add up?", "the canvas (section 3)"),
    Notebook("03_distributed", "How many neurons paint a pixel?", "the representation is distributed (section 4.2)"),
    Notebook("04_intensity_and_edges", "Do neurons care about more than brightness?", "heatmaps and edges (section 4.3)"),
    Notebook(
        "05_what_neurons_care_about",
        "What do neurons care about: colour, edges or place?",
        "colour and edges over space (section 4.4)",
    ),
    Notebook("06_objects_over_time", "Do neurons follow objects?", "objects over time (section 4.5)"),
    Notebook("07_motion", "Is change over time dominated by motion?", "fluctuation and motion (section 4.6)"),
    Notebook("08_neuron_groups", "Do neurons come in kinds?", "groups of neurons (section 4.7)"),
    Notebook("09_faithfulness", "Do the maps tell the truth?", "an audit against ablation (beyond the paper)"),
    Notebook("10_compression", "What can be left out?", "pruning, quantisation, files (beyond the paper)"),
    Notebook("11_diagnosis", "What is wrong with this network?", "faults and errors (beyond the paper)"),
    Notebook("12_findings", "Which of the paper's findings survive?", "all verdicts"),
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
    """Run the series (or the notebooks whose names begin with one of ``names``) and join the findings table.

    Executed copies go to ``out``, or over the originals with ``in_place``; figures and tables to ``figures``: by default the
    project's own, but ``out/figures`` with other parameters, so that the committed ones stay. With ``fresh`` no stored
    measurement is read: everything is measured anew, and stored once all notebooks are done. Returns the path of the
    joined ``findings.csv``.

    Raises
    ------
    ValueError
        For a notebook or a parameter that does not exist, naming the nearest that does.
    RuntimeError
        For a notebook that fails, naming the cell and where the executed copy lies.
    """
    chosen = _chosen(names)
    for notebook in chosen:
        _check(notebook, parameters or {})
    out = Path(out)
    figures = figures or (out / "figures" if parameters else ROOT / "figures")
    out.mkdir(parents=True, exist_ok=True)
    anew = out / "measured"
    if fresh:
        shutil.rmtree(anew, ignore_errors=True)
    store = anew if fresh else results()
    with _environment(XINC_FIGURES=str(Path(figures).resolve()), XINC_RESULTS=str(store.resolve())):
        bar = tqdm(chosen, disable=not progress, unit="notebook")
        for notebook in bar:
            bar.set_description(notebook.name)
            _execute(notebook, notebook.path if in_place else out / notebook.path.name, parameters or {})
        table = join_findings()
    if fresh:
        shutil.copytree(anew, results(), dirs_exist_ok=True)
    return table


def _chosen(names: list[str] | None) -> list[Notebook]:
    if not names:
        return list(SERIES)
    for name in names:
        if not any(n.name.startswith(name) for n in SERIES):
            raise ValueError(_unknown("notebook", name, [n.name for n in SERIES]))
    return [n for n in SERIES if n.name.startswith(tuple(names))]


def _check(notebook: Notebook, parameters: dict) -> None:
    """papermill only warns of a parameter that the notebook does not have."""
    import papermill

    known = list(papermill.inspect_notebook(str(notebook.path)))
    for name in parameters:
        if name not in known:
            raise ValueError(_unknown(f"parameter of {notebook.name}", name, known))


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"no {what} {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}")


def _execute(notebook: Notebook, target: Path, parameters: dict) -> None:
    import papermill

    try:
        papermill.execute_notebook(
            str(notebook.path),
            str(target),
            parameters,
            kernel_name="python3",
            cwd=str(NOTEBOOKS),
            execution_timeout=TIMEOUT,
            progress_bar=False,
            log_output=False,
        )
        if target == notebook.path:
            _without_timestamps(target)
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(
            f"{notebook.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}; see {str(target)!r}"
        ) from None


def _without_timestamps(path: Path) -> None:
    """Drop what differs from run to run and machine to machine: times and paths."""
    import nbformat

    book = nbformat.read(path, as_version=4)
    book.metadata.pop("papermill", None)
    for cell in book.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags", True):
            cell.metadata.pop("tags")
    nbformat.write(book, path)


@contextmanager
def _environment(**variables: str):
    """Set environment variables for the kernels that are started meanwhile."""
    before = {k: os.environ.get(k) for k in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
