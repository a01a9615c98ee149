"""The house: imports run one way, the core holds only the core, every room is described, the
environment parses, the README is true.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import machines
import yaml

import xinc_core as xc

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "xinc_core"

# No room knows a later one.
ROOMS = (
    "util",
    "models",
    "tracing",
    "clips",
    "fitting",
    "storage",
    "editing",
    "study.statistics",
    "study.findings",
    "study.answers",
    "study.measuring",
    "study.figures",
    "study.explorer",
    "study.series",
    "cli",
)
CORE = ("models", "tracing")
CORE_LIBRARIES = {"torch", "numpy", "tqdm"}


# The rooms ----------------------------------------------------------------------------------------


def modules() -> Iterator[tuple[Path, str]]:
    """Every file of the package with its dotted name, but for the front door."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if parts != ("xinc_core", "__init__"):
            yield file, ".".join(parts)


def imported(file: Path, name: str) -> Iterator[str]:
    """Dotted names of all that a module imports, absolute or relative, at its top or in a function.

    ``from a import b`` gives ``a`` and ``a.b``: b may be a module.
    """
    package = name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def room(name: str) -> str | None:
    """The room of a module of the package: ``xinc_core.study.figures.theme`` is in
    ``study.figures``.
    """
    inside = name.removeprefix("xinc_core.")
    return next((r for r in ROOMS if f"{inside}.".startswith(f"{r}.")), None)


def test_every_module_is_in_a_room():
    homeless = [name for _, name in modules() if room(name) is None]
    assert homeless == ["xinc_core.study.__init__"]


def test_imports_run_one_way():
    for file, name in modules():
        here = room(name)
        for target in imported(file, name):
            there = room(target) if target.startswith("xinc_core.") else None
            if here is None:  # the study's own door: its rooms, and how names are looked up
                own = target.startswith("xinc_core.study.")
                assert own or there in (None, "util"), f"{name} is no room and imports {target}"
            elif there is not None:
                assert ROOMS.index(there) <= ROOMS.index(here), f"{name} knows {target}"


def test_no_room_goes_out_by_the_front_door():
    """The front door is for those outside: only the command line may use it."""
    for file, name in modules():
        if room(name) != "cli":
            assert "xinc_core" not in set(imported(file, name)), name


def test_an_import_that_climbs_is_seen(tmp_path):
    file = tmp_path / "maps.py"
    file.write_text("def f():\n    from ..clips import clip\n    from .canvas import trace\n")
    seen = set(imported(file, "xinc_core.tracing.maps"))
    assert {"xinc_core.clips.clip", "xinc_core.tracing.canvas"} < seen
    assert room("xinc_core.clips.clip") == "clips"
    assert room("xinc_core.study.series.report.page") == "study.series"
    assert room("xinc_core.clips_of_others") is None


def test_every_room_says_what_lives_there():
    for name in (*ROOMS, "study"):
        file = PACKAGE / name.replace(".", "/") / "__init__.py"
        described = ast.get_docstring(ast.parse(file.read_text()))
        assert described and len(described.splitlines()) >= 3, name


# The core -----------------------------------------------------------------------------------------


def core_modules() -> list[tuple[Path, str]]:
    return [(file, name) for file, name in modules() if room(name) in CORE]


def test_the_core_imports_torch_numpy_tqdm_and_util():
    known = sys.stdlib_module_names | CORE_LIBRARIES
    for file, name in core_modules():
        for target in imported(file, name):
            own = room(target) in ("util", *CORE) if target.startswith("xinc_core.") else False
            assert own or target.split(".")[0] in known, f"{name} imports {target}"


def test_the_core_is_networks_and_tracing_and_nothing_else():
    """A file per family; what a family tells the tracer; maps, their sums, and a file per rule."""
    families = {cls.__module__.rsplit(".", 1)[-1] for cls in xc.models.FAMILIES.values()}
    shared = {"__init__", "layers", "neurons", "protocol", "parts", "chain"}
    files = {file.stem for file in (PACKAGE / "models").rglob("*.py")}
    own = {cls.__module__ for cls in xc.models.FAMILIES.values()}
    shipped = {name for name in families if f"xinc_core.models.{name}" in own}
    assert files == shared | shipped

    tracing = {"__init__", "budget", "canvas", "maps", "region_sums"}
    assert {file.stem for file in (PACKAGE / "tracing").glob("*.py")} == tracing


def test_the_core_knows_nothing_of_a_study():
    """How large is too large, how many to look at, how long it takes: a study says that."""
    words = "seconds|hours|huge|enough|sampled|verdict|notebook|finding"
    policy = re.compile(rf"(^|_)({words})s?($|_)")
    for file, name in core_modules():
        for node in ast.walk(ast.parse(file.read_text())):
            held = getattr(node, "id", None) or getattr(node, "attr", None)
            assert not (isinstance(held, str) and policy.search(held.lower())), f"{name}: {held}"


def test_the_core_loads_few_libraries():
    code = (
        "import sys, xinc_core, xinc_core.fitting.training;"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    heavy = {"matplotlib", "seaborn", "sklearn", "skimage", "scipy", "pandas"}
    heavy |= {"ipywidgets", "papermill", "av", "PIL"}
    assert not heavy & set(loaded)


def test_everything_public_is_described():
    for name in xc.__all__:
        assert getattr(xc, name).__doc__, name


# The environment ----------------------------------------------------------------------------------


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_environment_yml():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, nested = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert nested["pip"][0] == "-c constraints.txt" and nested["pip"][1].startswith("-e .[")


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> list[tuple[str, str]]:
    """Names and versions of constraints.txt, in its order; a marker says for which Python."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    split = [line.partition(";")[0].strip().split("==") for line in lines]
    return [(normal(name), version) for name, version in split]


def test_every_version_is_pinned_once():
    names = [name for name, _ in pins()]
    assert sorted(set(names)) == sorted(names)
    assert dict(pins())["torch"] == "2.13.0"
    wanted = project()["project"]["dependencies"]
    for extra in project()["project"]["optional-dependencies"].values():
        wanted = wanted + extra
    missing = {normal(re.split(r"[\[<>=;]", w)[0]) for w in wanted} - set(names)
    assert missing == {"xinc-core"}


def test_the_wheel_holds_what_is_no_python():
    """The command, the report's page and the mark that the core is typed."""
    settings = project()
    assert settings["project"]["scripts"] == {"xinc": "xinc_core.cli:main"}
    data = settings["tool"]["setuptools"]["package-data"]
    for package, patterns in data.items():
        folder = ROOT / package.replace(".", "/")
        for pattern in patterns:
            assert list(folder.glob(pattern)), f"{package}: {pattern}"
    assert data["xinc_core"] == ["py.typed"]
    assert "page.*" in data["xinc_core.study.series.report"]


def test_hooks_fetch_nothing():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}


def test_ci_runs_what_the_gate_runs():
    """Every Python that constraints.txt holds for; both test commands; lint and types once."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]

    def commands(job):
        return [step["run"] for step in jobs[job]["steps"] if "run" in step]

    assert {"make study", "make test", "make test-rest", "make wheel-study"} <= set(
        commands("test")
    )
    gate = (ROOT / ".ci" / "run").read_text()
    assert "step make test" in gate and "make wheel-study" in gate
    assert {"make lint", "make types"} <= set(commands("lint"))


def test_a_machine_is_a_line_and_what_failed_there():
    account = (
        "..F\n== short test summary info ==\nFAILED tests/laws/test_a.py::test_sum[1] - assert\n"
        "== 1 failed, 2 passed in 3.14s ==\n"
    )
    text = machines.line("default", False, account, 3.2)
    assert text == (
        "default      FAILED  1 failed, 2 passed, 3 s\n  FAILED tests/laws/test_a.py::test_sum[1]"
    )
    assert machines.main(["sse"]) == 2


def test_make_lists_its_targets():
    said = subprocess.run(
        ["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    for target in (
        "study",
        "test",
        "test-all",
        "test-machines",
        "wheel-study",
        "types",
        "lint",
        "coverage",
        "lab",
    ):
        assert re.search(rf"^make {target} +\w", said, re.M), target


# The files ----------------------------------------------------------------------------------------


def committed() -> list[str]:
    return subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, cwd=ROOT
    ).stdout.split()


def test_data_are_described():
    text = (ROOT / "data" / "README.md").read_text()
    for name in [*xc.list_clips(), *xc.list_models()]:
        assert f"`{name}`" in text, name


TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".ipynb", ".csv", ".json", ".cfg", ".txt", ""}


def texts() -> Iterator[tuple[str, str]]:
    """Every committed text file and what is in it."""
    for name in committed():
        path = ROOT / name
        if path.suffix in TEXT and path.is_file():
            yield name, path.read_text(errors="ignore")


def test_no_path_of_a_machine_is_committed():
    for name, text in texts():
        path = re.search(r"(?<![\w.])/(home|root|work|tmp|Users)/[\w.]", text)
        assert not path, f"{name}: {path.group()}"


def test_files_end_with_one_line_break_and_none_is_large():
    checked = subprocess.run(
        [sys.executable, ".ci/check_files.py", *committed()],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert checked.returncode == 0, checked.stdout
