"""``import xinc_core``: what it offers, that it loads nothing heavy, and that its page is true."""

import ast
import doctest
import pydoc
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import xinc_core as xc

PACKAGES = ("xinc_core", "xinc_core.clips", "xinc_core.storage", "xinc_core.study")


def seen_by_type_checkers(package) -> dict[str, str]:
    """The names that a package imports under ``if TYPE_CHECKING``, each with its module's name
    inside of the package.
    """
    found = {}
    for node in ast.parse(Path(package.__file__).read_text()).body:
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for line in node.body:
                module = line.module.removeprefix(f"{package.__name__}.")
                found |= {alias.name: module for alias in line.names}
    return found


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_see_the_names_that_are_there(name):
    package = import_module(name)
    assert seen_by_type_checkers(package) == package.PLACES
    assert set(package.PLACES) <= set(package.__all__) <= set(dir(package))
    for public in package.__all__:
        assert getattr(package, public) is not None


@pytest.mark.parametrize("name", PACKAGES)
def test_a_name_that_does_not_exist_is_an_attribute_error(name):
    package = import_module(name)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'trase'"):
        package.trase  # noqa: B018


def in_a_new_process(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    "line",
    (
        "import xinc_core",
        "from xinc_core import clips, storage, study",
        "import xinc_core; xinc_core.list_clips(); xinc_core.list_models(); dir(xinc_core)",
    ),
)
def test_nothing_heavy_is_loaded_before_it_is_asked_for(line):
    code = f"{line}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    heavy = {"torch", "numpy", "matplotlib", "pandas", "safetensors", "tqdm", "PIL", "av"}
    assert not heavy & set(in_a_new_process(code).split())


WAYS_IN = (
    "import xinc_core as xc; xc.fit",
    "from xinc_core import study; study.Session",
    "from xinc_core.study import explorer; explorer.explore",
    "import xinc_core as xc; xc.models.FAMILIES",
    "import xinc_core as xc; xc.clips.loading.load_clip",
    "from xinc_core import *; trace",
)


@pytest.mark.parametrize("ways", (WAYS_IN, WAYS_IN[::-1]))
def test_every_way_in_works_whichever_comes_first(ways):
    assert in_a_new_process("\n".join([*ways, "print('done')"])) == "done"


def test_threads_that_wait_sleep():
    """The variable is set before torch reads it."""
    code = (
        "import os, sys; os.environ.pop('OMP_WAIT_POLICY', None); import xinc_core;"
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    assert in_a_new_process(code) == "PASSIVE False"


def test_the_tour_runs_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(xc)
    assert failed == 0 and tried > 15


def test_the_tour_names_everything_and_every_name_has_a_page():
    for name in xc.__all__:
        assert f"``{name}``" in xc.__doc__, name
    page = pydoc.plain(pydoc.render_doc(xc))
    for name in xc.__all__:
        assert name in page
