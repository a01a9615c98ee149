"""The report of a study: one page, nothing loaded, nothing broken by a strange name, every word
from the tables.
"""

import csv
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from chromium import chromium

import xinc_core as xc
from xinc_core.clips import Clip, save_clip
from xinc_core.models import FFN, NeRV
from xinc_core.study.answers.table import COLUMNS, findings_table
from xinc_core.study.findings.registry import claims
from xinc_core.study.series.report import MOST, pictures, player, tables, words, write_report
from xinc_core.tracing import RULE_ORDER

NAME = "<b>&'x'"


def row(finding, family, layer, rule, verdict, statistic="effective_neurons", clip=NAME, **rest):
    known = dict(
        finding=finding,
        family=family,
        layer=layer,
        rule=rule,
        verdict=verdict,
        statistic=statistic,
        clip=clip,
    )
    return (
        dict.fromkeys(COLUMNS)
        | dict(seed="all", value=0.5, low=-0.1, high=0.6, n_units=2)
        | known
        | rest
    )


def study(folder, n_frames=4, families=("ffn", "nerv"), name=NAME):
    """A run folder of untrained networks on noise."""
    from PIL import Image

    for part in ("clips", "models", "figures"):
        (folder / part).mkdir(parents=True)
    torch.manual_seed(3)
    clip = Clip(name, torch.rand(n_frames, 3, 16, 32).mul(255).round().div(255))
    save_clip(clip, folder / "clips" / f"{name}.safetensors")
    made = {
        "ffn": lambda: FFN(FFN.Config((16, 32), width=6)),
        "nerv": lambda: NeRV(
            NeRV.Config((16, 32), n_frames, strides=(2, 2), channels=(3, 3, 2), levels=4)
        ),
    }
    for family in families:
        facts = dict(clip=name, clip_checksum=clip.checksum, seed=1, epochs=2, psnr=7.25)
        xc.save_model(
            made[family](),
            folder / "models" / f"{xc.model_name(family, name)}.safetensors",
            **facts,
        )
    noise = np.random.default_rng(0).integers(0, 255, (200, 900, 3), dtype=np.uint8)
    for figure in ("02_canvas_nerv", f"03_distributed_{name}", "07_a_new_figure"):
        Image.fromarray(noise).save(folder / "figures" / f"{figure}.png")
    said = (("paper", "undecided"), ("first_order", "reproduced"))
    rows = [
        row("distributed", f, y, r, w, s)
        for f in families
        for r, w in said
        for y, s in (("layer1", "effective_neurons"), ("all", "layers_where_it_holds"))
    ]
    with (folder / "figures" / "03_findings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    facts = dict(
        clip=dict(name=name, source="</script><i>.mp4"),
        command=f"xinc study {name!r}",
        would_add="More & <more>.",
    )
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_report(study(tmp_path_factory.mktemp("run")))


class Parsed(HTMLParser):
    VOID = {"meta", "img", "input", "br", "link"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        where = self.open[-1] if self.open else ""
        self.text[where] = self.text.get(where, "") + data


def test_the_page_asks_for_nothing_and_every_link_in_it_leads_somewhere(page):
    parsed = Parsed(page.read_text())
    assert not parsed.open
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in parsed.tags:
        for key in ("src", "href", "srcset", "data", "poster", "action"):
            address = attributes.get(key)
            if address is None or address.startswith("data:"):
                continue
            assert tag == "a", (tag, address)
            assert (
                address[1:] in ids
                if address.startswith("#")
                else address.startswith("https://arxiv.org/")
            ), address
        assert tag not in ("link", "iframe", "object", "base")
        assert tag != "img" or attributes["alt"]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", page.read_text())


def test_strange_names_are_shown_as_they_are(page):
    parsed = Parsed(page.read_text())
    assert NAME in parsed.text["em"] and NAME in parsed.text["code"]
    assert "More & <more>." in parsed.text["p"]
    assert not any(tag in ("b", "i", "more") for tag, _ in parsed.tags)


def test_the_player_has_each_layers_strongest_neurons_under_both_rules(page):
    shows = json.loads(Parsed(page.read_text()).text["script"].split("\n//")[0])["shows"]
    assert [(s["family"], s["label"], len(s["frames"])) for s in shows] == [
        ("nerv", "NeRV", 4),
        ("ffn", "FFN", 1),
    ]
    run = page.parent
    for show in shows:
        model = xc.load_model(run / "models" / f"{xc.model_name(show['family'], NAME)}.safetensors")
        canvas = xc.trace(model, 2, "first_order")
        assert [y["name"] for y in show["layers"]] == list(canvas.layers)
        for layer in show["layers"]:
            totals = canvas[layer["name"]].totals()
            assert layer["neurons"] == totals.topk(min(3, len(totals))).indices.tolist()
            assert layer["among"] == len(totals)
        maps = {
            f"{y['name']}/{r}/{k}"
            for y in show["layers"]
            for r in RULE_ORDER
            for k in range(len(y["neurons"]))
        }
        assert maps == set(show["sprites"]) - {"frame", "picture"}


def test_a_sprite_holds_every_frame_in_its_place():
    frames = np.arange(7, dtype=np.uint8)[:, None, None].repeat(16, 1).repeat(24, 2) * 30
    import io

    from PIL import Image

    sheet = np.asarray(
        Image.open(io.BytesIO(pictures.sprite(frames, (16, 24)))).convert("L")
    ).astype(int)
    across = pictures.columns(7, (16, 24))
    for k in range(7):
        top, left = k // across * 16, k % across * 24
        assert abs(sheet[top + 4 : top + 12, left + 4 : left + 20] - 30 * k).max() <= 8


def test_sprites_and_figures_shrink_until_they_fit(tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (9, 64, 96), dtype=np.uint8)
    large, cell = pictures.sprites({"x": noise}, (64, 96), 10**9)
    small, less = pictures.sprites({"x": noise}, (64, 96), len(large["x"]) // 3)
    assert cell == (64, 96) and less[0] < 64 and len(small["x"]) <= len(large["x"]) // 3
    pictures.Image.fromarray(noise[0].repeat(20, 0).repeat(20, 1)).save(tmp_path / "00_x.png")
    pictures.Image.fromarray(
        np.random.default_rng(2).integers(0, 255, (900, 1900, 3), dtype=np.uint8)
    ).save(tmp_path / "00_y.png")
    files = sorted(tmp_path.glob("*.png"))
    full = sum(len(f["uri"]) for f in pictures.figures(files, 10**9).values())
    assert sum(len(f["uri"]) for f in pictures.figures(files, full // 4).values()) <= full // 4
    assert (
        player.even(1000, 7)[0] == 0
        and player.even(1000, 7)[-1] == 999
        and len(player.even(1000, 7)) == 7
    )


def test_the_page_is_light(page, capsys):
    with capsys.disabled():
        print(f"\nreport.html: {page.stat().st_size / 1e6:.2f} MB")
    assert page.stat().st_size < MOST and pictures.cell_size((512, 1024), 40)[0] < 512


def test_what_is_said_follows_from_the_verdicts():
    def said(*verdicts):
        rules = ("paper", "first_order")
        rows = [row("distributed", "nerv", "all", r, v) for r, v in zip(rules, verdicts)]
        found = tables.clips_verdicts(findings_table(rows))
        (group,) = [text for text, findings in words.lead(found, NAME) if findings]
        ((_, kind, ((_, note),)),) = words.by_family(found, NAME)["nerv"]
        return group, kind, note

    assert (
        said("reproduced", "reproduced")[1:] == ("reproduced", "")
        and "every rule" in said("reproduced", "reproduced")[0]
    )
    assert said("not reproduced", "not reproduced")[0].startswith("1 fails throughout")
    assert "some network" in said("undecided", "partly")[0]
    assert said("undecided", "partly")[1:] == (
        "depends",
        "undecided under the paper's rule; partly under the first-order rule",
    )
    assert "could not be refuted" in said("undecided", "not reproduced")[0]


def test_every_finding_has_its_conditions_in_words_and_every_verdict_its_meaning():
    from xinc_core.study.figures.theme import VERDICT_COLORS

    for name, claim in claims().items():
        said = words.conditions(claim, set(claim.statistics))
        assert all(len(text.split()) > 3 for text in said)
        assert bool(said) is (name != "decomposition"), "a law has no conditions"
    assert set(words.MEANINGS) == set(VERDICT_COLORS) <= set(words.KINDS)


def test_every_figure_of_the_series_has_a_caption():
    from xinc_core.study.figures import saved_figures
    from xinc_core.util.paths import checkout

    for file in saved_figures(checkout() / "figures", "[0-9]*"):
        if file.name[:2] != "12":
            assert (
                words.is_judged(file.stem) or len(words.caption(file.stem, "courtyard").split()) > 8
            ), file.name
    assert words.caption("02_canvas_nerv", "x").startswith("NeRV. A row per layer")
    assert words.caption(f"03_distributed_{NAME}", NAME).startswith(
        "The representation is distributed?"
    )
    assert words.caption("07_a_new_figure", "x") == "A new figure."


def test_two_fits_reach_nine_deviations():
    assert words.reach(2) == pytest.approx(8.98, abs=0.01) and words.reach(5) == pytest.approx(
        1.24, abs=0.01
    )


def test_what_is_missing_is_left_out_and_what_is_wrong_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="is .* the folder of a study"):
        write_report(tmp_path)
    run = study(tmp_path / "photo", n_frames=1, families=("ffn",), name="photo")
    shutil.rmtree(run / "figures")
    (run / "run.json").unlink()
    text = write_report(run).read_text()
    assert "No finding was judged" in text and "To run it again" not in text
    (run / "run.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        write_report(run)
    (run / "run.json").unlink()
    other = study(tmp_path / "other", n_frames=2, families=("ffn",), name="photo")
    shutil.copy(
        other / "models" / "ffn-photo.safetensors", run / "models" / "ffn-photo.safetensors"
    )
    with pytest.raises(ValueError, match="fitted to another clip"):
        write_report(run)


@pytest.fixture(scope="module")
def browser():
    with chromium("the report was not opened in a browser") as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("width, scheme", [(1280, "light"), (420, "dark")])
def test_the_page_in_a_browser_without_a_network(browser, page, width, scheme):
    from playwright.sync_api import expect

    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    tab, wrong = context.new_page(), []
    tab.on("console", lambda m: wrong.append(m.text))
    tab.on("pageerror", lambda e: wrong.append(str(e)))
    tab.on(
        "request", lambda r: None if r.url.startswith(("data:", "file:")) else wrong.append(r.url)
    )
    tab.goto(page.as_uri())

    def drawn(text):
        expect(tab.locator("#player")).to_have_attribute("data-drawn", text, timeout=20_000)

    drawn("nerv block2 2 first_order 0")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    before = tab.evaluate("document.getElementById('lit').toDataURL()")
    tab.locator("#stage").focus()
    tab.keyboard.press("ArrowRight")
    drawn("nerv block2 3 first_order 0")
    assert tab.evaluate("document.getElementById('lit').toDataURL()") != before
    tab.locator("#frame").focus()
    tab.keyboard.press("ArrowLeft")
    drawn("nerv block2 2 first_order 0")
    tab.locator("#maps button").nth(1).click()
    drawn("nerv block2 2 paper 1")
    tab.locator("#play").click()
    drawn("nerv block2 0 paper 1")
    tab.locator("#play").click()
    tab.get_by_label("FFN").check()
    drawn("ffn layer2 0 paper 0")
    assert not tab.locator("#frame").is_visible() and not tab.locator("#play").is_visible()
    assert not wrong, wrong
    context.close()
