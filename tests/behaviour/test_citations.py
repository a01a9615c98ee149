"""What prose and comments refer to is there: sections of METHOD, and files of the README."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROSE = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "data/README.md",
    "tests/reference/README.md",
)
OLD_FORM = re.compile(r"METHOD\s+sections?\b")
CITATION = re.compile(r"\bMETHOD(?!\.md|_|'s)\s+(\d+(?:\.\d+)?)")
UNNUMBERED = re.compile(r"\bMETHOD\b(?!\.md|_|'s)(?!\s+\d)")


def sections() -> set[str]:
    """The numbers of METHOD.md's sections: "2", "6.1", …"""
    headings = re.findall(r"^##+ (\d+(?:\.\d+)?)[. ]", (ROOT / "METHOD.md").read_text(), re.M)
    assert len(headings) == len(set(headings))
    return set(headings)


def tracked(*suffixes: str) -> list[Path]:
    """The tracked files with these suffixes that are there."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in suffixes and path.is_file()]


def joined(text: str) -> str:
    """Text in which a citation that a line break (and a comment sign) parts is whole."""
    return re.sub(r"\s*\n[ \t#*]*", " ", text)


def markdown_cells(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return "\n\n".join(sources)


def texts() -> dict[str, str]:
    """Name of a file → what may cite METHOD in it."""
    here = Path(__file__).resolve()
    files = [path for path in tracked(".py") if path != here] + [ROOT / name for name in PROSE]
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}
    for notebook in tracked(".ipynb"):
        found[str(notebook.relative_to(ROOT))] = markdown_cells(notebook)
    return {name: joined(text) for name, text in found.items()}


def test_method_has_the_sections_that_it_promises():
    assert {"1", "2", "3", "4", "5", "6", "7", "8", "9"} <= sections()
    assert {f"6.{claim}" for claim in range(1, 9)} <= sections()


def test_every_citation_of_method_names_a_section_that_is_there():
    there, cited = sections(), set()
    for name, text in texts().items():
        for section in CITATION.findall(text):
            assert section in there, f"{name} cites METHOD {section}, which METHOD.md does not have"
            cited.add(section)
    assert {"2", "3"} <= cited  # the search finds what it looks for


def test_no_citation_has_the_old_form():
    for name, text in texts().items():
        assert not OLD_FORM.search(text), f"{name}: write 'METHOD 6.2', not 'METHOD section …'"


@pytest.mark.parametrize("citation", ["METHOD section 4", "METHOD\n    sections 2 and 9"])
def test_the_old_form_is_recognised(citation):
    assert OLD_FORM.search(joined(citation))


def files_of_the_map() -> list[tuple[str, list[str]]]:
    """(room, names in its row) of the README's map of the code."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## The map of the code")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \**`([\w/]+)/`\** \| ([^|]*) \|", section, re.M)
    return [(room, re.findall(r"`(\w+/?)`", names)) for room, names in rows]


def test_the_map_of_the_code_names_every_room_and_files_that_are_there():
    package = ROOT / "xinc_core"
    folders = [path.parent for path in package.glob("**/__init__.py")]
    rooms = {str(folder.relative_to(package)) for folder in folders} - {".", "study"}
    named = dict(files_of_the_map())
    inner = {"tracing/rules", "study/explorer/browsers", "study/series/report"}
    assert set(named) == rooms - inner
    for room, names in named.items():
        for name in names:
            path = package / room / name
            assert path.is_dir() or path.with_suffix(".py").is_file(), f"{room}: {name}"
