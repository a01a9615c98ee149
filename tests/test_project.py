"""The house: imports run one way, files stay small, the data are described, the environment parses, the README is true."""

import ast
import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import xinc_core as xc
from xinc_core.study import SERIES

ROOT = Path(__file__).resolve().parent.parent
PATH = [
    "paths",
    "shapes",
    "clips",
    "models",
    "regions",
    "checkpoints",
    "training",
    "rules",
    "maps",
    "canvas",
    "findings",
    "results",
    "plots",
    "charts",
]
PATH += ["explorer", "browsers", "study", "cli"]


def modules():
    for file in sorted((ROOT / "xinc_core").rglob("*.py")):
        parts = file.relative_to(ROOT / "xinc_core").with_suffix("").parts
        if parts != ("__init__",):
            yield file, parts


def test_imports_run_one_way():
    for file, parts in modules():
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            depth = len(parts) - node.level + (parts[-1] == "__init__")
            target = [*parts[: max(depth, 0)], *(node.module or "").split(".")]
            names = [target[0]] if target[0] else [a.name for a in node.names]
            for name in names:
                assert PATH.index(name) <= PATH.index(parts[0]), f"{file.name} looks back to {name}"


def test_the_core_imports_four_libraries():
    code = "import sys, xinc_core, xinc_core.training; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not {"matplotlib", "seaborn", "sklearn", "skimage", "ipywidgets", "papermill", "av", "PIL"} & set(loaded)


def test_the_package_is_thin():
    lines = {file: sum(bool(line.strip()) for line in file.read_text().splitlines()) for file, _ in modules()}
    core = ("models", "rules", "maps", "canvas", "checkpoints", "training")
    assert max(lines.values()) <= 300 and sum(lines.values()) <= 4000
    assert (
        sum(n for f, n in lines.items() if f.relative_to(ROOT / "xinc_core").parts[0].removesuffix(".py") in core)
        <= 1500
    )


def test_everything_public_is_described():
    for name in xc.__all__:
        assert getattr(xc, name).__doc__, name


def test_environment_yml():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, nested = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert nested["pip"][0] == "-c constraints.txt" and nested["pip"][1].startswith("-e .[")


def test_every_version_is_pinned():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert pins["torch"] == "2.13.0"
    wanted = re.findall(r'^\s*"([\w-]+)|, "([\w-]+)', (ROOT / "pyproject.toml").read_text(), re.M)
    lower = {name.lower().replace("_", "-") for name in pins}
    listed = {"torch", "numpy", "jupyterlab", "ipywidgets", "papermill", "nbval", "pytest", "playwright", "seaborn"}
    assert wanted and listed <= lower


def test_data_are_described():
    text = (ROOT / "data" / "README.md").read_text()
    for name in [*xc.list_clips(), *xc.list_models()]:
        assert f"`{name}`" in text, name


def test_no_path_of_a_machine_is_committed():
    files = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT).stdout.split()
    for name in files:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".ipynb", ".csv", ".json", ".cfg", ""} and path.is_file():
            found = re.search(r"(?<![\w.])/(home|root|work|tmp|Users)/[\w.]", path.read_text(errors="ignore"))
            assert not found, f"{name}: {found.group()}"


# The notebooks ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=SERIES, ids=lambda n: n.name)
def notebook(request):
    return request.param, json.loads(request.param.path.read_text())


def code_cells(book):
    return [c for c in book["cells"] if c["cell_type"] == "code"]


def test_notebooks_are_committed_as_one_clean_run(notebook):
    row, book = notebook
    cells = code_cells(book)
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    assert not any(o["output_type"] == "error" for c in cells for o in c["outputs"])
    assert row.path.stat().st_size < 1_000_000


def test_notebooks_have_the_series_shape(notebook):
    row, book = notebook
    opening = "".join(book["cells"][0]["source"])
    assert opening.startswith(f"# {row.name[:2]} · {row.question}\n")
    assert "**The claim**" in opening and "**What you need" in opening
    pictures = re.findall(r"\]\(\.\./figures/(.+?)\)", opening)
    assert pictures and all((ROOT / "figures" / p).exists() for p in pictures)
    (parameters,) = [c for c in code_cells(book) if "parameters" in c["metadata"].get("tags", [])]
    for statement in ast.parse("".join(parameters["source"])).body:
        ast.literal_eval(statement.value)
    assert any("xc.explore(" in "".join(c["source"]) for c in code_cells(book))
    assert max(len(c["source"]) for c in code_cells(book)) <= 25


def test_every_notebook_file_is_in_the_series():
    assert [p.stem for p in sorted((ROOT / "notebooks").glob("*.ipynb"))] == [n.name for n in SERIES]


def test_the_findings_table_joins_the_notebooks_tables():
    with (ROOT / "figures" / "findings.csv").open() as file:
        joined = list(csv.DictReader(file))
    parts = []
    for path in sorted((ROOT / "figures").glob("[0-9][0-9]_findings.csv")):
        with path.open() as file:
            parts += list(csv.DictReader(file))
    assert joined == parts and joined
