"""CONTRIBUTING.md's examples work as they stand there."""

import json
import re
import sys
import textwrap
import types
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from xinc_core.models import FAMILIES
from xinc_core.study.findings import registry

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = re.compile(r"^( *)<!-- example: (.+?) -->\n\1```python\n(.*?)^\1```", re.M | re.S)


def examples() -> dict[str, str]:
    """Name of an example → its code."""
    found = EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    return {name: textwrap.dedent(code) for _, name, code in found}


def run(code: str, name: str, **names) -> dict:
    """Execute an example; what it defines."""
    space = {**names, "__name__": "example"}
    exec(compile(code, name, "exec"), space)
    return space


def as_module(file: str, monkeypatch) -> types.ModuleType:
    """An example that is a file of the package, as the module that it would be."""
    name = file.removesuffix(".py").replace("/", ".")
    module = types.ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(examples()[file], file, "exec"), module.__dict__)
    return module


def test_every_code_block_is_an_example_that_is_run():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert text.count("```python") == len(examples()) == 8


def test_a_family_is_added(monkeypatch, capsys):
    family = as_module("xinc_core/models/pemlp.py", monkeypatch).PEMLP
    monkeypatch.setitem(FAMILIES, "pemlp", family)
    space = run(examples()["try a family"], "try a family")
    assert capsys.readouterr().out == "torch.Size([24])\n"
    assert space["history"]["psnr"][-1] > space["history"]["psnr"][0]
    model = family(family.Config(size=(5, 7), width=6, levels=2))  # the one for conftest.py
    assert [layer.n_neurons for layer in model.layers()] == [8, 6]


def test_a_finding_is_added(monkeypatch, capsys):
    module = as_module("xinc_core/study/findings/borders.py", monkeypatch)
    monkeypatch.setattr(sys.modules[module.__package__], "borders", module, raising=False)
    space = run(examples()["try a finding"], "try a finding")
    assert "border_ratio" in capsys.readouterr().out
    finding, scene = module.FINDING, space["Scene"](space["clip"])
    assert set(finding.measure(space["view"])) == set(finding.statistics)
    assert set(finding.plant(scene, 3, 0)) == set(finding.claims[0].cases)


@pytest.mark.slow
def test_a_finding_is_measured(monkeypatch, tmp_path, capsys):
    module = as_module("xinc_core/study/findings/borders.py", monkeypatch)
    monkeypatch.setattr(registry, "FINDINGS", (*registry.FINDINGS, module.FINDING))
    monkeypatch.setenv("XINC_RESULTS", str(tmp_path))
    table = run(examples()["measure a finding"], "measure a finding")["table"]
    claim = module.FINDING.claims[0]
    trials = table[(table.family == "planted") & (table.statistic == "border_ratio")]
    for case, holds in claim.cases.items():
        one = trials[trials.layer == case]
        assert len(one)
        for value in one.value:
            assert claim.state({"border_ratio": np.array([value])}, planted=True) == holds


def test_a_notebook_is_begun(monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XINC_FIGURES", str(tmp_path))
    run(examples()["begin a notebook"], "begin a notebook")
    path = tmp_path / "notebooks" / "14_borders.ipynb"
    nbformat.validate(nbformat.read(path, as_version=4))
    cells = json.loads(path.read_text())["cells"]
    assert "".join(cells[0]["source"]).startswith("# 14 · Do contributions gather")
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    run("\n".join(sources), path.name)
    assert (tmp_path / "14_borders.webp").is_file()


def test_a_figure_is_drawn_and_saved(monkeypatch, tmp_path):
    monkeypatch.setenv("XINC_FIGURES", str(tmp_path))
    space = run(examples()["a figure"], "a figure")
    space = run(examples()["save a figure"], "save a figure", **space)
    assert (tmp_path / "14_toward_the_border.png").is_file()
    assert (tmp_path / "14_toward_the_border.svg").is_file()
    ax = space["toward_the_border"]({"layer1": torch.ones(8, 10)})
    assert ax.lines[-1].get_ydata() == pytest.approx([1.0] * 4)  # flat where the map is
