"""Where the project finds and keeps its files.

Every place is looked up when it is asked for, because environment variables decide:

=================  ====================================================================
``XINC_DATA``      the folder of shipped clips, models and stored measurements (``data/``)
``XINC_RUN``       the folder of a study on a clip of one's own
``XINC_RESULTS``   the folder of stored measurements, where it is another one
``XINC_FIGURES``   the folder of figures and tables, where it is another one
``XINC_CLIPS``     a folder of videos, looked into before any is fetched
``XINC_CACHE``     the folder that keeps what was fetched, where it is another one
=================  ====================================================================

``XINC_CLIPS_URL`` is no place here but the address of a mirror: videos are fetched from there.

Without ``XINC_DATA`` the data are those of the checkout that the package is imported from. A
package that was installed by itself has no checkout, and so no shipped data; the notebooks it
carries. It keeps what it measures and draws in the current folder, never beside its own code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def import_folder() -> Path:
    """The folder that holds the package: on another process's ``PYTHONPATH``, it runs this code."""
    return Path(__file__).resolve().parent.parent.parent


def checkout() -> Path | None:
    """The checkout of the project that the package is imported from; None for an installed one."""
    folder = import_folder()
    if (folder / "pyproject.toml").is_file() and (folder / "data").is_dir():
        return folder
    return None


def data_folder() -> Path | None:
    """The folder of shipped data: ``XINC_DATA``, else the checkout's ``data/``, else None."""
    named = os.environ.get("XINC_DATA")
    if named:
        return Path(named)
    root = checkout()
    if root is None:
        return None
    return root / "data"


def shipped_folder(kind: str) -> Path | None:
    """The folder of shipped "clips" or "models"; None where it is not here."""
    data = data_folder()
    if data is None or not (data / kind).is_dir():
        return None
    return data / kind


def table_of_data(name: str) -> Path | None:
    """A table of the data, or its folder of masks: the data folder's, else the one that the
    package carries beside its code when it is installed; None where neither has it.
    """
    for folder in (data_folder(), import_folder() / "xinc_core" / "data"):
        if folder is not None and (folder / name).exists():
            return folder / name
    return None


def no_data(what: str) -> str:
    """The sentence for shipped data that are not there.

    Parameters
    ----------
    what : str
        What is missing, as the sentence begins: "the shipped clip 'bunny' is".
    """
    folder = data_folder()
    if folder is None:
        where = "the installed package carries no data"
    else:
        where = f"{str(folder)!r} does not hold it"
    return f"{what} not here: {where}; set XINC_DATA to the data folder of a whole checkout"


def notebooks_folder() -> Path:
    """The folder of the notebook series, to read: the checkout's, else the package's own."""
    root = checkout()
    if root is None:
        root = import_folder() / "xinc_core"
    return root / "notebooks"


def run_folder() -> Path | None:
    """The folder of a study on the user's own clip, ``XINC_RUN``, or None.

    It has clips, models, results and figures in it.
    """
    named = os.environ.get("XINC_RUN")
    if not named:
        return None
    return Path(named)


def figures() -> Path:
    """The folder of figures and tables, made if missing.

    It is ``XINC_FIGURES``, else the run's, else the checkout's ``figures/``, else ``figures/`` in
    the current folder.
    """
    return _made("XINC_FIGURES", "figures", checkout() or Path("."))


def results() -> Path:
    """The folder of stored measurements, made if missing.

    It is ``XINC_RESULTS``, else the run's, else ``results/`` of the shipped data, else
    ``.cache/results/`` in the current folder.
    """
    return _made("XINC_RESULTS", "results", data_folder() or Path(".cache"))


def _made(variable: str, name: str, usual: Path) -> Path:
    """The folder that the variable names, else ``name`` in the run's or the usual folder; made."""
    named = os.environ.get(variable)
    if named:
        folder = Path(named)
    else:
        folder = (run_folder() or usual) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_folder() -> Path:
    """The folder that keeps what was fetched: ``XINC_CACHE``, else the user's usual one.

    It is not made here, and never lies beside the package's code.
    """
    named = os.environ.get("XINC_CACHE")
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("xinc")


def shelves(kind: str) -> list[Path]:
    """The folders in which "clips" or "models" are looked up by name, first to last.

    The run's folder comes first, then the shipped data, where they exist.
    """
    roots = [run_folder(), data_folder()]
    return [root / kind for root in roots if root is not None]


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for what is started meanwhile, notebooks' kernels for example."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
