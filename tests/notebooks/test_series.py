"""The committed notebooks: one clean run each, all of one shape, and what they print is what the
tables say.
"""

import ast
import configparser
import json
import re
from itertools import product
from pathlib import Path

import pytest
from xinc_core.study.findings.registry import claims

from xinc_core import fit, load_clip, model_name, save_model
from xinc_core.study import answers
from xinc_core.study.answers.table import notebook_tables, read_table, verdicts_over_layers
from xinc_core.study.series.notebooks import SERIES
from xinc_core.study.series.shipped import run_study

ROOT = Path(__file__).resolve().parent.parent.parent
FIGURES = ROOT / "figures"
WITHOUT_FINDINGS = ("00", "01", "12", "13")


@pytest.fixture(params=SERIES, ids=lambda n: n.name)
def notebook(request):
    return request.param, json.loads(request.param.path.read_text())


def code_cells(book: dict) -> list[dict]:
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def printed(book: dict) -> list[str]:
    """What each cell printed."""
    outputs = [output for cell in code_cells(book) for output in cell["outputs"]]
    return ["".join(o.get("text", "")) for o in outputs if o["output_type"] == "stream"]


# Their shape --------------------------------------------------------------------------------------


def test_notebooks_are_committed_as_one_clean_run(notebook):
    row, book = notebook
    cells = code_cells(book)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert row.path.stat().st_size < 1_000_000


def test_notebooks_have_the_series_shape(notebook):
    row, book = notebook
    opening = "".join(book["cells"][0]["source"])
    assert opening.startswith(f"# {row.name[:2]} · {row.question}\n")
    assert "**The claim**" in opening and "**What you need" in opening
    pictures = re.findall(r"\]\(\.\./figures/(.+?)\)", opening)
    assert pictures and all((FIGURES / picture).exists() for picture in pictures)

    cells = code_cells(book)
    (parameters,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    for statement in ast.parse("".join(parameters["source"])).body:
        ast.literal_eval(statement.value)
    assert any("xc.explore(" in "".join(cell["source"]) for cell in cells)
    assert max(len(cell["source"]) for cell in cells) <= 25


def test_a_notebook_names_a_clip_in_its_parameters_alone(notebook):
    """So that it runs on any: ``xinc study --notebooks 00 -p clip=box``."""
    for cell in code_cells(notebook[1]):
        if "parameters" in cell["metadata"].get("tags", []):
            continue
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = set(re.split(r"\W+", node.value))
                assert not words & {"courtyard", "bunny", "shapes", "box"}, node.value


@pytest.mark.slow
def test_the_first_notebooks_run_on_a_clip_whose_terms_are_clear(tmp_path, monkeypatch):
    """With networks of two families that were fitted for a moment."""
    clip, models = load_clip("box"), tmp_path / "run" / "models"
    models.mkdir(parents=True)
    for family in ("ffn", "nerv"):
        model, _ = fit(family, clip, epochs=1, checkpoint=False, progress=False)
        save_model(model, models / f"{model_name(family, 'box')}.safetensors")
    monkeypatch.setenv("XINC_RUN", str(tmp_path / "run"))
    parameters = {"clip": "box", "families": ["ffn", "nerv"], "brief": {"ffn": 1, "nerv": 1}}
    out = tmp_path / "study"
    run_study(["00", "01", "02"], out, parameters=parameters, progress=False)
    drawn = {path.stem for path in (out / "figures").iterdir()}
    assert {"00_start_here", "01_fit_a_network", "02_canvas_nerv", "02_totals"} <= drawn


def test_every_notebook_file_is_in_the_series():
    files = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in files] == [notebook.name for notebook in SERIES]


def test_what_differs_between_two_runs_is_named_for_nbval():
    """Addresses and the kernel's folder, by patterns that match them and no number of a result."""
    rules = configparser.ConfigParser()
    rules.read(Path(__file__).with_name("sanitize.cfg"))
    patterns = [rules[section]["regex"] for section in rules.sections()]
    for varying in ("<object at 0x7f3c5a2b1d90>", "/ipykernel_4711/123456.py"):
        assert any(re.search(pattern, varying) for pattern in patterns), varying
    for result in ("0.1234", "31.42 dB", "0x10", "1.5e-06"):
        assert not any(re.search(pattern, result) for pattern in patterns), result


# What they print ----------------------------------------------------------------------------------


def test_the_findings_table_joins_the_notebooks_tables():
    parts = []
    for path in notebook_tables(FIGURES):
        heading, *rows = path.read_text().splitlines()
        parts += rows
    assert parts and (FIGURES / "findings.csv").read_text().splitlines() == [heading, *parts]


def test_the_rows_printed_in_a_notebook_are_those_of_its_table(notebook):
    row, book = notebook
    number = row.name[:2]
    path = FIGURES / f"{number}_findings.csv"
    if number in WITHOUT_FINDINGS:
        assert not path.exists()
        return
    if number == "02":  # the laws are printed in the notebook's own words
        return
    table = read_table(path)
    outputs = [output.strip() for output in printed(book)]
    for text in (answers.summary(table), answers.shown(table), answers.trials(table)):
        assert not text or text.strip() in outputs, text


def test_the_summary_and_the_readme_show_every_verdict():
    table = answers.read_findings(FIGURES)
    book = json.loads((ROOT / "notebooks" / "12_findings.ipynb").read_text())
    assert answers.summary(table).strip() in [text.strip() for text in printed(book)]
    assert answers.verdict_table(table) in (ROOT / "README.md").read_text()
    assert set(table.finding) == set(claims())


MASKS, VIDEO = {"no_object_semantics"}, {"motion_dominates"}
USES = {
    "prunable_by_contribution",
    "bits_by_contribution",
    "faults_found",
    "errors_under_strong_maps",
    "smaller_than_codecs",
}  # their controls are in tests/behaviour/test_uses.py


def test_every_row_of_the_decision_table_is_there():
    """Each claim for each family and clip that can have it, under both rules, each with its
    calibration. METHOD 4, earlier form.
    """
    table = answers.read_findings(FIGURES)
    table = table[table.finding != "decomposition"]
    overall = verdicts_over_layers(table)
    judged = set(zip(overall.finding, overall.family, overall["clip"], overall.rule))

    asked = set(claims()) - {"decomposition", "smaller_than_codecs"}
    cases = product(asked, ("ffn", "nerv"), ("courtyard", "bunny"), ("paper", "first_order"))
    for finding, family, clip, rule in cases:
        has_masks = finding not in MASKS or clip == "courtyard"
        has_motion = finding not in VIDEO or family == "nerv"
        case = (finding, family, clip, rule)
        assert (case in judged) == (has_masks and has_motion), case

    tried = set(table.finding[table.statistic == "calibration"])
    assert tried == set(table.finding) - {"distributed_learned"} - USES
