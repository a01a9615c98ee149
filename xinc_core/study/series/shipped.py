"""The shipped study: the notebooks executed on the shipped clips.

What is made goes to a scratch folder, and is compared with what is committed (``comparing``);
``in_place`` publishes it: notebooks are executed over themselves, figures written to ``figures/``.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xinc_core.study.answers.table import join_findings, notebook_tables
from xinc_core.study.measuring.store import Store
from xinc_core.util.files import held_alone, replace_file
from xinc_core.util.paths import (
    checkout,
    environment,
    no_data,
    notebooks_folder,
    results,
    shipped_folder,
)
from xinc_core.util.progress import progress_bar

from .comparing import PICTURES, TABLES, Comparison, compare, file_names
from .executing import check_parameters, check_ready, execute, tidy
from .notebooks import Notebook, chosen_notebooks


@dataclass(frozen=True)
class Study:
    """What a run of the series made.

    Attributes
    ----------
    table : Path
        The joined ``findings.csv``.
    comparison : Comparison or None
        With the committed figures and tables; None where these were written, where other
        parameters were set, or where the package has no checkout.
    """

    table: Path
    comparison: Comparison | None = None


def committed_figures() -> Path | None:
    """The folder of the committed figures and tables; None for a package without a checkout."""
    root = checkout()
    return root / "figures" if root else None


def run_study(
    names: list[str] | None = None,
    out: str | Path = "runs/study",
    figures: str | Path | None = None,
    parameters: dict | None = None,
    in_place: bool = False,
    fresh: bool = False,
    progress: bool = True,
) -> Study:
    """Run the series, join the findings table, and compare with what is committed.

    Parameters
    ----------
    names : list of str, optional
        Only the notebooks whose names begin with one of these.
    out : path
        Where executed notebooks go, unless ``in_place``.
    figures : path, optional
        Where figures and tables go; by default ``out/figures``, with ``in_place`` the committed
        ones.
    parameters : dict, optional
        For the notebooks, by name. With other parameters than their own, nothing is compared, and
        the committed figures stay, ``in_place`` or not.
    in_place : bool
        Whether notebooks are executed over themselves.
    fresh : bool
        Whether no stored measurement is read: everything is measured anew, and stored once all
        notebooks are done.
    progress : bool
        Whether a progress bar is shown.

    Returns
    -------
    Study
        The joined table, and the comparison.

    Raises
    ------
    ValueError
        For a notebook or a parameter that does not exist, naming the nearest that does; for
        ``in_place`` where there is no checkout.
    FileNotFoundError
        If the shipped data are not here: an installed package carries none.
    RuntimeError
        For a notebook that fails, naming the cell and where the executed copy lies.
    """
    notebooks = chosen_notebooks(names)
    parameters = parameters or {}
    _check_shipped(in_place)
    check_ready(names)
    check_parameters(names, parameters)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    refusal = f"another study is at work in {str(out)!r}; wait for it, or name another --out"
    with held_alone(out / ".lock", refusal):
        return _run_series(notebooks, out, figures, parameters, in_place, fresh, progress)


def _run_series(
    notebooks: list[Notebook],
    out: Path,
    figures: str | Path | None,
    parameters: dict,
    in_place: bool,
    fresh: bool,
    progress: bool,
) -> Study:
    """As :func:`run_study`, whose options are checked and whose folder is held."""
    place = out if checkout() is None else notebooks_folder()  # where the kernels run
    committed = None if parameters else committed_figures()
    publishes = in_place and committed is not None
    folder = Path(figures or (committed if publishes else out / "figures"))
    if committed and folder.resolve() == committed.resolve():
        committed = None  # it is written, not compared with
    if committed and not figures:
        _clear(folder, notebooks)
    if committed:
        _lend_tables(folder, committed, notebooks)
    anew = out / "measured"
    if fresh:
        shutil.rmtree(anew, ignore_errors=True)
    measurements = anew if fresh else results()
    with environment(XINC_FIGURES=str(folder.resolve()), XINC_RESULTS=str(measurements.resolve())):
        bar = progress_bar(notebooks, disable=not progress, unit="notebook")
        for notebook in bar:
            bar.set_description(notebook.name)
            target = notebook.path if in_place else out / notebook.path.name
            execute(notebook, notebook.path, target, parameters, place)
            if in_place:
                tidy(target)
        table = folder / join_findings().name
    if fresh:
        Store(results()).take_over(anew)
    numbers = [notebook.number for notebook in notebooks]
    return Study(table, compare(folder, committed, numbers) if committed else None)


def _check_shipped(in_place: bool) -> None:
    """Refuse the shipped study where its clips and models are not, and to publish an installed
    package's own notebooks.
    """
    if shipped_folder("clips") is None or shipped_folder("models") is None:
        raise FileNotFoundError(no_data("the shipped study's clips and models are"))
    if in_place and checkout() is None:
        raise ValueError("--in-place is for a checkout of the project; leave it out")


def _clear(folder: Path, notebooks: list[Notebook]) -> None:
    """Delete what an earlier run of these notebooks left in the scratch folder of figures."""
    own = {notebook.number for notebook in notebooks}
    for name in file_names(folder, folder, own, (*PICTURES, *TABLES)):
        (folder / name).unlink()


def _lend_tables(folder: Path, committed: Path, notebooks: list[Notebook]) -> None:
    """Lay the committed tables of the notebooks that are not run beside those that will be made:
    the last notebook and the joined table read all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = {notebook.number for notebook in notebooks}
    for table in notebook_tables(committed):
        if table.name[:2] not in own:
            replace_file(folder / table.name, partial(shutil.copyfile, table))
