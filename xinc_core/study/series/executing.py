"""One notebook of the series, executed headless with papermill."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from xinc_core.util.files import replace_file
from xinc_core.util.paths import environment
from xinc_core.util.suggest import unknown

from .notebooks import Notebook, chosen_notebooks

EXTRA = 'extra == "notebooks"'  # of the package's requirements
TIMEOUT = 1200  # seconds a single cell may take
KEY = "xinc"  # in a notebook's metadata: what it was executed with
SHIPPED = "shipped"  # tag of the cells that speak of the shipped clips


def parameters_of(notebook: Notebook) -> list[str]:
    """The names of a notebook's parameters: those of its cell tagged ``parameters``."""
    import papermill

    return list(papermill.inspect_notebook(str(notebook.path)))


def check_ready(names: Sequence[str] | None) -> None:
    """Refuse a study that could not be finished: without its notebooks, or what executes them.

    Raises
    ------
    FileNotFoundError
        Naming a notebook that is not there.
    ModuleNotFoundError
        Naming the libraries that are not installed.
    """
    for notebook in chosen_notebooks(names):
        if not notebook.path.is_file():
            raise FileNotFoundError(
                f"the notebook {notebook.name} is not here: there is no {str(notebook.path)!r}; "
                "install the package again"
            )
    missing = [library for library in libraries() if not _is_installed(library)]
    if missing:
        raise ModuleNotFoundError(
            f"a study needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            "not installed: pip install 'xinc-core[notebooks]'"
        )


def libraries() -> list[str]:
    """What notebooks need beside the core, as the package's own metadata list it."""
    names = []
    try:
        requirements = requires("xinc-core") or []
    except PackageNotFoundError:  # a checkout that is imported without being installed
        return []
    for requirement in requirements:
        name, _, condition = requirement.partition(";")
        if EXTRA in condition.replace("'", '"'):
            names.append(name.strip())
    return [name for name in names if name != "jupyterlab"]  # which only shows notebooks


def _is_installed(library: str) -> bool:
    try:
        version(library)
    except PackageNotFoundError:
        return False
    return True


def check_parameters(names: Sequence[str] | None, parameters: dict) -> None:
    """Refuse a parameter that none of these notebooks has: papermill only warns of it.

    Raises
    ------
    ValueError
        With the nearest parameter that exists.
    """
    if not parameters:
        return
    known: dict[str, None] = {}  # in the order of the notebooks
    for notebook in chosen_notebooks(names):
        known |= dict.fromkeys(parameters_of(notebook))
    for name in parameters:
        if name not in known:
            raise ValueError(unknown("parameter of these notebooks", name, list(known)))


def execute(notebook: Notebook, source: Path, target: Path, parameters: dict, folder: Path) -> None:
    """Run a notebook with papermill; the kernel is this Python.

    Parameters
    ----------
    notebook : Notebook
        Which of the series it is.
    source, target : Path
        The file that is executed, and the executed copy; they may be the same.
    parameters : dict
        It takes those that it has.
    folder : Path
        The kernel's working directory.

    Raises
    ------
    RuntimeError
        If a cell fails, naming it.
    """
    import papermill

    known = parameters_of(notebook) if parameters else []
    own = {name: value for name, value in parameters.items() if name in known}
    try:
        # Nobody watches, and a progress bar would stay among the outputs.
        with environment(TQDM_DISABLE="1"):
            papermill.execute_notebook(
                str(source),
                str(target),
                own,
                kernel_name="python3",
                cwd=str(folder),
                execution_timeout=TIMEOUT,
                progress_bar=False,
                log_output=False,
                extra_arguments=["--IPKernelApp.log_level=40"],
            )
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(
            f"{notebook.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}; "
            f"see {str(target)!r}"
        ) from None


def execute_for(notebook: Notebook, target: Path, parameters: dict, clip: str, key: str) -> bool:
    """Run a notebook of the series on somebody's own clip, unless ``target`` was executed under
    the same key.

    It takes those of the parameters that it has. What it says of the shipped clips (cells tagged
    ``shipped``) is left out, and its pictures are this clip's.

    Parameters
    ----------
    notebook : Notebook
    target : Path
        The executed copy; the kernel runs in its folder.
    parameters : dict
        By name.
    clip : str
        The clip's name.
    key : str
        Stands for all that the outputs depend on; kept in the copy.

    Returns
    -------
    bool
        Whether it was run.
    """
    import nbformat

    if target.exists() and _key(target) == key:
        return False
    source = target.with_name(f".{target.name}")
    nbformat.write(_about(clip, nbformat.read(notebook.path, as_version=4)), source)
    try:
        execute(notebook, source, target, parameters, target.parent)
    finally:
        source.unlink(missing_ok=True)
    book = nbformat.read(target, as_version=4)
    book.metadata[KEY] = key
    replace_file(target, lambda file: nbformat.write(book, file))
    return True


def tidy(path: Path) -> None:
    """Drop from an executed notebook what differs from run to run and machine to machine: times
    and paths.
    """
    import nbformat

    book = nbformat.read(path, as_version=4)
    book.metadata.pop("papermill", None)
    for cell in book.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags", True):
            cell.metadata.pop("tags")
    replace_file(path, lambda file: nbformat.write(book, file))


def _about(clip: str, book):
    """The notebook with its text pointed at a clip's figures, without what it says of the shipped
    clips.
    """
    figure = re.compile(r"(\]\(\.\./figures/\w+?)_(courtyard)(\.(?:png|webp)\))")
    for cell in book.cells:
        if cell.cell_type != "markdown":
            continue
        cell.source = figure.sub(rf"\1_{clip}\3", cell.source)
        if SHIPPED in cell.metadata.get("tags", []):
            cell.source = (
                f"What {clip} says stands above; what the shipped clips say, "
                "in the project's own notebooks."
            )
    return book


def _key(path: Path) -> str | None:
    """Under which key a notebook was executed; None for one that was not, or cannot be read."""
    try:
        return json.loads(path.read_text())["metadata"].get(KEY)
    except (OSError, ValueError, KeyError):
        return None
