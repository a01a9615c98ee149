"""The series headless, the command line, and the laws as findings."""

import nbformat
import pytest
import torch

import xinc_core as xc
from xinc_core.cli import words as cli
from xinc_core.study.answers import table as findings
from xinc_core.study.explorer import painters
from xinc_core.study.findings import laws
from xinc_core.study.series import executing
from xinc_core.study.series.notebooks import SERIES
from xinc_core.study.series.shipped import run_study


def run(capsys, *words):
    code = cli.main(list(words))
    return code, *capsys.readouterr()


def test_fit_writes_a_model_that_loads(tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    code, printed, _ = run(
        capsys, "fit", "astronaut", "--family", "ffn", "--epochs", "3", "-o", str(out)
    )
    assert code == 0 and "dB after 3 epochs" in printed
    assert xc.load_model(out).family == "ffn"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.history.csv", "mine.safetensors"]
    code, _, error = run(
        capsys, "fit", "astronaut", "--family", "ffn", "--epochs", "3", "-o", str(out)
    )
    assert code == 2 and "exists already" in error


def test_a_fit_that_cannot_be_saved_is_not_lost(tmp_path, capsys, monkeypatch):
    words = [
        "fit",
        "astronaut",
        "--family",
        "ffn",
        "--epochs",
        "3",
        "-o",
        str(tmp_path / "new" / "mine.safetensors"),
    ]

    def full(*args, **facts):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("xinc_core.storage.fitted.save_model", full)
        code, _, error = run(capsys, *words)
    assert code == 2 and "No space left" in error
    monkeypatch.setattr(
        xc.fitting.training, "_step", None
    )  # nothing is left to be done but to save
    assert run(capsys, *words)[0] == 0 and xc.load_model(words[-1]).family == "ffn"


def test_a_diverged_fit_leaves_its_last_good_weights(tmp_path, capsys, monkeypatch):
    step, count = xc.fitting.training._step, 0

    def harmful(*args):
        nonlocal count
        count += 1
        return step(*args) if count < 4 else [torch.tensor(float("nan"))]

    monkeypatch.setattr(xc.fitting.training, "_step", harmful)
    out = tmp_path / "mine.safetensors"
    code, _, error = run(
        capsys, "fit", "astronaut", "--family", "ffn", "--epochs", "9", "-o", str(out)
    )
    assert code == 2 and "mine.diverged.safetensors" in error and not out.exists()
    assert xc.load_model(tmp_path / "mine.diverged.safetensors").family == "ffn"


def test_lists(capsys):
    assert "nerv-courtyard" in run(capsys, "models")[1] and "courtyard" in run(capsys, "clips")[1]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["fit", "nowhere.mp4"], "no clip 'nowhere.mp4'"),
        (["fit", "astronaut", "--family", "nurf"], "no family 'nurf'"),
        (["study", "--notebooks", "00_start_hear"], "did you mean '00_start_here'"),
        (["study", "--notebooks", "00", "-p", "frme=3"], "did you mean 'frame'"),
        (["study", "-p", "frame"], "written name=value"),
        (["fit", "astronaut", "-o", "mine"], "ends in .safetensors"),
        (["fit", "astronaut", "--family", "ffn", "--parameters", "99"], "no such option"),
    ],
)
def test_bad_input_ends_in_one_sentence(words, sentence, capsys):
    code, _, error = run(capsys, *words)
    assert code == 2 and sentence in error and error.count("\n") == 1


def test_help_has_examples(capsys):
    for command in ("study", "fit", "models", "clips"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        assert "example: xinc" in capsys.readouterr().out


@pytest.mark.slow
def test_a_notebook_runs_headless_with_parameters(tmp_path):
    done = run_study(
        ["00"],
        tmp_path / "out",
        tmp_path / "figures",
        {"clip": "bunny", "frame": 3},
        progress=False,
    )
    assert done.comparison is None
    assert done.table == tmp_path / "figures" / "findings.csv"
    assert (tmp_path / "figures" / "00_start_here.webp").exists()
    assert "bunny" in (tmp_path / "out" / "00_start_here.ipynb").read_text()


@pytest.mark.slow
def test_a_notebook_run_headless_holds_no_progress_bar(tmp_path, monkeypatch):
    """However slow the machine: what is stored must not depend on it."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    bar = nbformat.v4.new_code_cell(
        "from xinc_core.util.progress import progress_bar\nprint(sum(progress_bar(range(4))))"
    )
    nbformat.write(nbformat.v4.new_notebook(cells=[bar]), tmp_path / "bar.ipynb")
    executing.execute(SERIES[0], tmp_path / "bar.ipynb", tmp_path / "done.ipynb", {}, tmp_path)
    book = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    assert [o.text for o in book.cells[0].outputs] == ["6\n"] and "widgets" not in book.metadata


def test_a_failing_notebook_is_named(tmp_path):
    with pytest.raises(RuntimeError, match="00_start_here failed in cell .*no clip"):
        run_study(["00"], tmp_path, tmp_path / "figures", {"clip": "no-such-clip"}, progress=False)


def test_the_laws_hold_and_notice_a_broken_map(network):
    canvas = xc.trace(network.float(), rule="first_order")
    for name in canvas.layers:
        assert laws.completeness(canvas, name) < 1e-5
        assert laws.additivity(canvas, name) < 1e-4
    layer = canvas[canvas.layers[-1]]
    rule, exact = layer._rule, layer._rule.color_pixels
    rule.color_pixels = lambda neurons, box: exact(neurons, box) * 1.1
    assert laws.additivity(canvas, canvas.layers[-1]) > 0.05


def test_findings_refuse_unknown_verdicts(tmp_path, monkeypatch):
    monkeypatch.setenv("XINC_FIGURES", str(tmp_path))
    with pytest.raises(ValueError, match="verdicts are"):
        findings.save_findings("99", [dict(verdict="maybe")])
    findings.save_findings("99", [laws.law_row("completeness", "ffn", "layer1", "shapes", 1, 1e-7)])
    assert "decomposition,ffn,layer1,paper,shapes,1" in findings.join_findings().read_text()


def test_painters_count_how_many_make_up_a_share():
    order, enough = painters(torch.tensor([1.0, -6.0, 2.0, 1.0]))
    assert order[0] == 1 and enough == 3
    assert painters(torch.zeros(3))[1] == 0
