"""The shipped study made again: what differs from the committed figures and tables is named, and
the committed files stay as they are.
"""

import shutil

import numpy as np
import pytest
from PIL import Image

from xinc_core.cli import words as cli
from xinc_core.study.answers.table import COLUMNS
from xinc_core.study.figures import saved_figures
from xinc_core.study.series import comparing, shipped
from xinc_core.study.series.comparing import compare, same_value

ROW = "distributed,nerv,block1,paper,courtyard,all,effective_neurons,{},0.1,0.3,5,True,reproduced"


def table(path, *values):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([",".join(COLUMNS), *(ROW.format(value) for value in values)]) + "\n")


def picture(path, shift=0.0, at=0):
    """A ramp with a black bar."""
    path.parent.mkdir(exist_ok=True)
    values = np.linspace(20, 220, 64)[None, :, None].repeat(48, 0).repeat(3, 2) + shift
    values[:, 10 + at : 20 + at] = 0
    Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).save(path)


@pytest.fixture()
def folders(tmp_path):
    for name in ("made", "committed"):
        table(tmp_path / name / "03_findings.csv", "0.2345")
        table(tmp_path / name / "findings.csv", "0.2345")
        picture(tmp_path / name / "03_heatmap.png")
        picture(tmp_path / name / "05_other.png", shift=0 if name == "made" else 30)
    return tmp_path / "made", tmp_path / "committed"


def test_equal_folders_compare_as_equal_and_only_the_notebooks_that_were_run_count(folders):
    found = compare(*folders, ["03"])
    assert (found.n_tables, found.n_pictures, found.tables, found.pictures) == (2, 1, (), ())
    assert str(found).endswith("2 tables, 1 pictures; none differs")


@pytest.mark.parametrize(
    "value, same",
    [
        ("0.2346", True),  # one unit of the fourth digit
        ("0.23450", True),
        ("0.2347", False),
        ("-0.2345", False),
        ("nan", False),
        ("", False),
        ("words", False),
    ],
)
def test_numbers_are_compared_as_numbers_within_the_last_digit_written(value, same, folders):
    made, committed = folders
    table(made / "03_findings.csv", value)
    assert same_value(value, "0.2345") is same
    lines = compare(made, committed, ["03"]).tables
    assert len(lines) == (0 if same else 1)
    assert same or "value of distributed nerv block1 paper" in lines[0]


@pytest.mark.parametrize(
    "one, other, same",
    [("1e-07", "1.001e-7", True), ("0", "0.0", True), ("9.999", "10", True), ("True", "1", False)],
)
def test_the_last_digit_is_that_of_the_larger_number(one, other, same):
    assert same_value(one, other) is same and same_value(other, one) is same


def test_rows_that_are_missing_or_new_differ_and_their_order_does_not(folders):
    made, committed = folders
    table(made / "03_findings.csv", "0.2345", "0.9")
    assert "0 of 1 rows are missing and 1 are new" in compare(made, committed, ["03"]).tables[0]
    other = ROW.replace("block1", "block2").format("0.7")
    first = ROW.format("0.2345")
    for folder, rows in ((made, (first, other)), (committed, (other, first))):
        text = "\n".join([",".join(COLUMNS), *rows]) + "\n"
        (folder / "03_findings.csv").write_text(text)
    assert not compare(made, committed, ["03"]).tables


@pytest.mark.parametrize(
    "change, same", [(dict(shift=1), True), (dict(shift=3), False), (dict(at=1), False)]
)
def test_pictures_may_differ_in_their_last_bits_only(change, same, folders):
    made, committed = folders
    picture(made / "03_heatmap.png", **change)
    assert (not compare(made, committed, ["03"]).pictures) is same


def test_a_picture_of_another_size_and_files_of_one_folder_only_differ(folders):
    made, committed = folders
    Image.new("RGB", (5, 5)).save(made / "03_heatmap.png")
    picture(made / "03_new.png")
    picture(committed / "03_old.png")
    lines = compare(made, committed, ["03"]).pictures
    assert [line.split(":")[0] for line in lines] == ["03_heatmap.png", "03_new.png", "03_old.png"]
    assert "5×5 pixels, committed 64×48" in lines[0]


@pytest.fixture()
def project(tmp_path, monkeypatch):
    """A project whose committed figures are others than those that notebook 00 draws."""
    committed = tmp_path / "figures"
    picture(committed / "00_start_here.png")
    table(committed / "03_findings.csv", "0.2345")
    table(committed / "findings.csv", "0.2345")
    monkeypatch.setattr(shipped, "committed_figures", lambda: committed)
    monkeypatch.chdir(tmp_path)
    return committed


def drawn(notebook, source, target, parameters, folder):
    """In a notebook's place: a figure in the folder of figures."""
    from xinc_core.util.paths import figures

    picture(figures() / "00_start_here.png", shift=40)
    shutil.copyfile(source, target)


def test_the_series_made_again_leaves_what_is_committed_and_says_what_differs(
    project, monkeypatch, capsys
):
    monkeypatch.setattr(shipped, "execute", drawn)
    before = {path.name: path.read_bytes() for path in project.iterdir()}
    scratch = project.parent / "runs/study/figures"
    scratch.mkdir(parents=True)
    picture(scratch / "00_of_an_earlier_run.png")
    assert cli.main(["study", "--notebooks", "00"]) == 0
    printed = capsys.readouterr().out
    assert "00_start_here.png: pixels differ by" in printed
    assert "0 tables and 1 pictures differ" in printed
    assert {path.name: path.read_bytes() for path in project.iterdir()} == before
    assert [path.name for path in sorted(scratch.iterdir())] == [
        "00_start_here.png",
        "03_findings.csv",
        "findings.csv",
    ]
    assert (project.parent / "runs/study/00_start_here.ipynb").exists()


def test_a_table_that_differs_is_a_failure(project, monkeypatch, capsys):
    monkeypatch.setattr(shipped, "execute", drawn)
    table(project / "findings.csv", "0.9")
    assert cli.main(["study", "--notebooks", "00"]) == 2
    assert "xinc: tables differ from the committed ones: findings.csv" in capsys.readouterr().err


def test_in_place_publishes(project, monkeypatch, capsys, tmp_path):
    notebook = shipped.chosen_notebooks(["00"])[0]
    books = tmp_path / "notebooks"
    books.mkdir()
    shutil.copyfile(notebook.path, books / notebook.path.name)
    monkeypatch.setattr("xinc_core.study.series.notebooks.notebooks_folder", lambda: books)
    before = (project / "00_start_here.png").read_bytes()

    def in_place(notebook, source, target, parameters, folder):
        assert source == target == books / "00_start_here.ipynb"
        drawn(notebook, source, tmp_path / "copy.ipynb", parameters, folder)

    monkeypatch.setattr(shipped, "execute", in_place)
    assert cli.main(["study", "--notebooks", "00", "--in-place"]) == 0
    assert (project / "00_start_here.png").read_bytes() != before
    assert "compared" not in capsys.readouterr().out


def test_figures_go_where_they_are_asked_for(project, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(shipped, "execute", drawn)
    assert cli.main(["study", "--notebooks", "00", "--figures", str(tmp_path / "mine")]) == 0
    assert str(tmp_path / "mine" / "findings.csv") in capsys.readouterr().out
    assert (tmp_path / "mine" / "00_start_here.png").exists()


def test_the_tolerance_is_below_a_shift_by_one_pixel():
    for path in saved_figures(shipped.committed_figures(), "0[2357]_*"):
        pixels = comparing.read_pixels(path)
        moved = np.roll(pixels, 1, axis=0)
        assert np.abs(moved - pixels).mean() > 1.8 * comparing.MOST_DIFFERENT, path.name
