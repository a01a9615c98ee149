"""Text from outside stays text: in the explorer, the report, figures, tables, plans, names of files
and on the terminal.

Names of clips, categories, files and layers come from files. Markup, formulas and control
characters are fed through every place that shows one.
"""

import re
import shlex
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import ipywidgets
import matplotlib.pyplot as plt
import pytest
import torch
from comparing import without_bars
from hostile import HOSTILE, clip_with, hostile_run

import xinc_core as xc
from xinc_core.cli import words as cli
from xinc_core.clips import save_clip
from xinc_core.models import NeRV
from xinc_core.study import figures
from xinc_core.study.explorer import VIEWS
from xinc_core.study.figures.saving import show_text_as_it_is
from xinc_core.study.findings.browsing import Picture
from xinc_core.study.measuring.store import Address
from xinc_core.study.series.plans import plan
from xinc_core.study.series.report import write_report
from xinc_core.util.text import as_file_name, as_html, as_plain

hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
SOME = ("script", "attribute", "formula", "control")  # where a case takes longer
some_hostile = pytest.mark.parametrize("text", [HOSTILE[name] for name in SOME], ids=SOME)
TAGS = {"b", "span"}  # that captions are made of


class Parsed(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def spoken(text):
    """No control character, but line breaks, is left."""
    return not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]", text
    )


@pytest.fixture(autouse=True)
def own_results(tmp_path_factory, monkeypatch):
    """What the views measure is not kept."""
    monkeypatch.setenv("XINC_RESULTS", str(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    config = NeRV.Config(size=(32, 48), n_frames=2, strides=(4, 2), channels=(3, 4, 2), levels=5)
    return NeRV(config).requires_grad_(False)


# The place ----------------------------------------------------------------------------------------


@hostile
def test_html_shows_the_text_and_nothing_else(text):
    page = Parsed(as_html(text))
    assert page.tags <= {"span"} and not page.attributes
    assert page.text == as_plain(text) and spoken(page.text)
    # a formula needs both of its marks in one piece of text
    pieces = re.split(r"<[^>]*>", as_html(text))
    assert all(piece in ("$", "\\") or not re.search(r"[$\\]", piece) for piece in pieces)


@hostile
def test_a_file_name_stays_in_its_folder_and_is_not_too_long(text, tmp_path):
    path = tmp_path / f"{as_file_name(text)}.safetensors"
    path.write_text("written")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_ordinary_names_stay_what_they_are():
    for name in ("courtyard", "my film (2)", "Fußgänger", "12_verdicts", "日本語", "a.b-c_d"):
        assert as_plain(name) == as_html(name) == as_file_name(name) == name
    assert as_file_name("x" * 500) != as_file_name("x" * 501)


# The explorer and the browsers --------------------------------------------------------------------


def pages_of(widget):
    """The HTML of all captions below a widget."""
    pages = [widget.value] if isinstance(widget, ipywidgets.HTML) else []
    for child in getattr(widget, "children", ()):
        pages += pages_of(child)
    return pages


@some_hostile
def test_captions_of_every_view_are_text(text, network, monkeypatch):
    """The captions of the views as they are, and with the text in the place of each part."""
    clip = clip_with(text)
    shown = pages_of(xc.explore(network, clip, view="objects", layer="block1"))
    shown += pages_of(xc.explore(network, clip))
    for layer in ("<b>block1</b>", f"<b>{text}</b>", text, f"<b>{text}"):
        view = VIEWS["objects"]
        picture = {layer + text: Picture.magnitude(torch.zeros(32, 48))}
        spec = replace(view, show=lambda opened, picture=picture, **_: picture)
        monkeypatch.setitem(VIEWS, "objects", spec)
        shown += pages_of(xc.explore(network, clip, view="objects"))
        monkeypatch.setitem(VIEWS, "objects", view)
    assert any(as_plain(text) in Parsed(page).text for page in shown)
    for page in shown:
        assert Parsed(page).tags <= TAGS and not Parsed(page).attributes and spoken(page)


def test_no_control_takes_its_label_as_html(network):
    explorer = xc.explore(network, clip_with("clip"))

    def controls(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from controls(child)

    for widget in controls(explorer):
        assert not getattr(widget, "description_allow_html", False)


# Figures and tables -------------------------------------------------------------------------------


def with_text_everywhere(text):
    fig, axes = plt.subplots(1, 3, figsize=(6, 2))
    axes[0].plot([0, 1], label=f"x{text}")
    axes[0].legend()
    axes[0].text(0.5, 0.5, text)
    axes[0].annotate(text, (0, 0))
    axes[0].set(title=text, xlabel=text, ylabel=text)
    axes[1].bar([text, text + "2"], [1, 2])
    axes[2].set_xticks([0, 1], [text, text])
    axes[2].set(yscale="log", ylim=(0.1, 100))
    fig.suptitle(text)
    fig.legend(handles=[plt.Line2D([], [], label=f"x{text}")])
    return fig


@some_hostile
@pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout", "ignore:.*layout")
def test_figures_show_names_as_they_are(text, tmp_path, monkeypatch):
    monkeypatch.setenv("XINC_FIGURES", str(tmp_path / "figures"))
    figures.set_theme()
    figures.save(with_text_everywhere(text), f"01_{text}", photo=False)
    plt.close("all")
    files = sorted((tmp_path / "figures").iterdir())
    assert {file.suffix for file in files} == {".png", ".svg"}
    assert [file.name for file in tmp_path.iterdir()] == ["figures"]
    (drawing,) = (file for file in files if file.suffix == ".svg")
    root = ElementTree.fromstring(drawing.read_text(encoding="utf-8"))  # it is well formed
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"script", "image", "foreignObject", "a"}
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in attributes if name.startswith("on")}
    seen = ["".join(element.itertext()).strip() for element in root.iter() if "text" in element.tag]
    cut = as_plain(text, lines=True, most=200).splitlines()[0].strip()
    assert seen.count(cut) >= 5
    assert "mathdefault" not in "".join(seen)  # the logarithmic axis still has its powers


@some_hostile
def test_tables_and_the_diagnosis_show_names_as_they_are(text, network):
    report = xc.diagnose(network, clip_with(text))
    page = report.table._repr_html_()
    assert "mathjax_ignore" in page
    shown = Parsed(page)
    assert not shown.tags & {"script", "img"} and "onmouseover" not in shown.attributes
    report.figure.canvas.draw()
    plt.close("all")


@hostile
def test_a_clip_says_its_name_in_one_line(text):
    said = repr(clip_with(text))
    assert spoken(said) and "\n" not in said


# Names of files, plans ----------------------------------------------------------------------------


@hostile
def test_results_are_stored_in_their_folder(text):
    name = Address("edges", text, "label", {}).file
    assert "/" not in name and len(name.encode()) < 255


@hostile
def test_a_plan_names_its_files_safely_and_its_command_can_be_pasted(text, tmp_path):
    name = re.sub(r"[/\0]", "_", text)[:200] + ".png"
    file = tmp_path / name
    try:
        file.write_bytes(b"")
    except OSError:
        pytest.skip("the disk takes no such name")
    made = plan(str(file), tmp_path / "out")
    assert re.fullmatch(r"[a-z0-9-]{1,80}", made.name)
    assert shlex.split(made.command)[2] == str(file)


# The terminal -------------------------------------------------------------------------------------


@hostile
def test_the_terminal_obeys_no_name(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    word = text.replace("\0", "0")
    for words in (["trace", word], ["trace", "x", "--layer", word], ["fit", word], [word or "x"]):
        assert cli.main(words) == 2
    save_clip(clip_with(text, 1), "clip.safetensors")
    assert cli.main(["fit", "clip.safetensors", "--family", "ffn", "--epochs", "1"]) == 0
    said = capsys.readouterr()
    err = without_bars(said.err)
    assert spoken(said.out + err) and len(err.strip().splitlines()) == 4, said
    written = {file.name for file in tmp_path.iterdir()}
    assert len(written) == 3 and all(name.isprintable() for name in written), written


def test_a_name_under_a_tick_may_take_two_lines():
    fig, ax = plt.subplots()
    ax.set_xticks([0, 1], ["ffn\nlayer1", "\x1b[31mred"])
    show_text_as_it_is(fig)
    fig.canvas.draw()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["ffn\nlayer1", "\\x1b[31mred"]
    plt.close(fig)


# The report ---------------------------------------------------------------------------------------


@hostile
def test_the_report_shows_text_as_it_is(text, tmp_path):
    hostile_run(tmp_path, text)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    tame = tmp_path / "tame"
    hostile_run(tame, "tame")
    wanted = Parsed(write_report(tame).read_text(encoding="utf-8"))
    found = Parsed(page)
    assert found.tags <= wanted.tags | {"small"} and found.attributes <= wanted.attributes
    assert page.count("<script") == (tame / "report.html").read_text().count("<script")
    assert spoken(page) or text == HOSTILE["lines"]
    assert as_plain(text)[:50] in found.text
