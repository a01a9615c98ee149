"""The notebooks in a real JupyterLab in a real browser: they run, the sliders move, the pictures
follow.
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from chromium import chromium
from hostile import HOSTILE, hostile_run

from xinc_core.study.series.notebooks import SERIES
from xinc_core.study.series.report import write_report

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent
ARTIFACTS = ROOT / "test-artifacts"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on a copy of the notebooks; yields a function from notebook name to address."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {
        "IPYTHONDIR": str(folder / "ipython"),
        "XINC_FIGURES": str(folder / "figures"),
    }
    env |= {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_DATA_DIR": str(folder / "share")}
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
    ]
    command += ["--IdentityProvider.token=study", f"--ServerApp.root_dir={folder}"]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=study", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((folder / "lab.log").read_text()[-2000:])

        def address(name):
            return f"http://127.0.0.1:{port}/doc/tree/notebooks/{name}.ipynb?token=study&reset"

        address.folder = folder / "notebooks"
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def page():
    with chromium("the notebooks were not opened in a browser") as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(180_000)
        yield page


def wait_until(check, seconds=30, every=0.1):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(every)
    raise AssertionError("nothing changed in time")


# What JupyterLab itself logs as an error on a machine without news and extensions: nothing that a
# notebook did.
LABS_OWN = re.compile(
    r"/lab/api/(news|update|listings)|favicon|ResizeObserver loop"
    r"|the server responded with a status of 404"
)

OVERFLOW = """() => {
    const shown = '.jp-OutputArea-output img, .jp-OutputArea-output pre, '
        + '.jp-OutputArea-output table, .jp-RenderedMarkdown > *, '
        + '.jupyter-widgets:not(.widget-html):not(.widget-label)'
    const outside = e => e.getBoundingClientRect().right > innerWidth + 1
    const cut = e => e.scrollWidth > e.clientWidth + 40
    const place = e => Math.round(e.getBoundingClientRect().right)
    return [...document.querySelectorAll(shown)]
        .filter(e => e.offsetParent && (outside(e) || cut(e)))
        .map(e => [e.tagName, e.className, place(e), e.innerText.slice(0, 60)].join(' '))
}"""

UNLABELLED = """() => {
    const widgets = '.widget-slider, .widget-dropdown, .widget-toggle-buttons, .widget-text'
    const label = e => (e.querySelector('.widget-label') || {innerText: ''}).innerText.trim()
    return [...document.querySelectorAll(widgets)]
        .filter(e => e.offsetParent && !label(e))
        .map(e => e.className)
}"""

# From a key press to the next picture, as the page itself sees it: until the image has been decoded
# and painted.
STOPWATCH = """() => {
    window.times = []; let pressed = 0;
    addEventListener('keydown', () => { pressed = performance.now() }, true);
    const image = document.querySelectorAll('img.widget-image')[2];
    image.addEventListener('load', () => requestAnimationFrame(() => {
        if (pressed) { window.times.push(performance.now() - pressed); pressed = 0 } }));
}"""


def watched(page):
    """The list of what goes wrong on the page from here on."""
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console",
        lambda m: (
            wrong.append(f"{m.text} {m.location.get('url', '')}") if m.type == "error" else None
        ),
    )
    return wrong


def check_page(page, wrong):
    """No error in the console, every control labelled and reached by keyboard, nothing wider
    than the page.
    """
    wrong = [text for text in wrong if not LABS_OWN.search(text)]
    assert not wrong, wrong
    assert not page.evaluate(UNLABELLED)
    assert not page.evaluate(OVERFLOW)
    handles = page.locator(".noUi-handle:visible")
    assert handles.count() and all(h.get_attribute("tabindex") == "0" for h in handles.all())


def run_all(page, address):
    page.goto(address)
    page.get_by_text("| Idle").wait_for()
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
    page.locator("img.widget-image").first.wait_for()
    page.locator("img.widget-image").first.scroll_into_view_if_needed()
    page.get_by_text("| Idle").wait_for()


def slider(page, name):
    row = (
        page.locator(".widget-inline-hbox", has=page.locator("label", has_text=name))
        .locator("visible=true")
        .first
    )
    return row.locator(".noUi-handle").first


def test_the_first_notebook_in_jupyterlab(lab, page):
    ARTIFACTS.mkdir(exist_ok=True)
    wrong = watched(page)
    run_all(page, lab("00_start_here"))

    def pictures():
        return [
            image.get_attribute("src") for image in page.locator("img.widget-image:visible").all()
        ]

    def moved(index, act):
        before = pictures()[index]
        start = time.monotonic()
        act()
        wait_until(lambda: len(pictures()) > index and pictures()[index] != before, every=0.02)
        return time.monotonic() - start

    wait_until(lambda: len(pictures()) == 4)
    page.screenshot(path=ARTIFACTS / "00_opened.png")
    for name in ("neuron", "layer", "frame"):
        handle = slider(page, name)
        handle.scroll_into_view_if_needed()
        handle.focus()
        key = "ArrowLeft" if name == "layer" else "ArrowRight"
        moved(2, lambda key=key: page.keyboard.press(key))
        page.screenshot(path=ARTIFACTS / f"00_{name}.png")
    moved(2, lambda: page.get_by_role("button", name="first-order rule").click())
    handle = slider(page, "neuron")
    handle.focus()
    for _ in range(25):  # a fast drag
        page.keyboard.press("ArrowRight")
    moved(2, lambda: page.keyboard.press("ArrowRight"))
    page.get_by_role("tab", name="pixel → neurons").click()
    wait_until(lambda: len(pictures()) == 2)
    for name in ("row", "column"):
        slider(page, name).focus()
        moved(0, lambda: page.keyboard.press("ArrowRight"))
    page.screenshot(path=ARTIFACTS / "00_pixel.png")
    assert page.get_by_text("make up 90 % of this pixel").count()
    check_page(page, wrong)


def test_a_key_press_is_answered_at_once(lab, page):
    """Median from key press to new picture: at most 150 ms, under both rules."""
    run_all(page, lab("00_start_here"))
    for rule in ("paper's rule", "first-order rule"):
        page.get_by_role("button", name=rule).click()
        time.sleep(1)
        page.evaluate(STOPWATCH)
        handle = slider(page, "neuron")
        handle.scroll_into_view_if_needed()
        handle.focus()
        for n in range(1, 22):
            page.keyboard.press("ArrowRight")
            wait_until(lambda n=n: page.evaluate("times.length") >= n, every=0.02)
        times = page.evaluate("times")
        print(f"{rule}: median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms")
        assert statistics.median(times) <= 150, times


@pytest.mark.parametrize("name", [n.name for n in SERIES if n.name != "00_start_here"])
def test_every_notebook_runs_in_jupyterlab_and_its_pictures_follow_the_layer(lab, page, name):
    ARTIFACTS.mkdir(exist_ok=True)
    wrong = watched(page)
    run_all(page, lab(name))
    assert not page.locator(
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'] .ansi-red-fg"
    ).count()

    def pictures():
        return [
            image.get_attribute("src") for image in page.locator("img.widget-image:visible").all()
        ]

    before = wait_until(pictures)
    handle = slider(page, "layer")
    handle.scroll_into_view_if_needed()
    handle.focus()
    page.keyboard.press("ArrowLeft")
    wait_until(lambda: pictures() != before, every=0.05)
    page.screenshot(path=ARTIFACTS / f"{name}.png")
    check_page(page, wrong)


HOSTILE_CELLS = """
import os
import sys
import tempfile

os.environ["XINC_RESULTS"] = tempfile.mkdtemp()  # what the view measures is not kept
sys.path.insert(0, TESTS)
from hostile import HOSTILE, clip_with

import xinc_core as xc
from xinc_core.models import NeRV
from xinc_core.study.explorer.widgets import caption_html

network = NeRV(NeRV.Config(size=(32, 48), n_frames=2, strides=(4, 2), channels=(3, 4, 2), levels=5))
"""


def test_no_name_of_a_file_runs_a_script_in_jupyterlab(lab, page):
    """Categories and clips that are called like scripts: in the explorer, a view and a table."""
    cells = [HOSTILE_CELLS.replace("TESTS", repr(str(ROOT / "tests")))]
    for name in ("script", "image", "attribute", "end of title", "whole formula"):
        cells.append(f"clip = clip_with(HOSTILE[{name!r}])\nxc.explore(network, clip)")
        cells.append('xc.explore(network, clip, view="objects")')
        cells.append("xc.diagnose(network, clip).table")
        cells.append("clip")
    kernel = dict(name="python3", display_name="Python 3", language="python")
    book = nbformat.v4.new_notebook(metadata=dict(kernelspec=kernel))
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(book, lab.folder / "hostile.ipynb")
    run_all(page, lab("hostile"))
    wait_until(lambda: page.get_by_text("most over the picture's mean").count() >= 5, 120)
    assert page.get_by_text("<script>window.pwned = 1</script>").count()
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert not page.locator(
        ".jp-OutputArea-output mjx-container, .jp-OutputArea-output img[src=x]"
    ).count()
    page.screenshot(path=ARTIFACTS / "hostile.png")


def test_no_name_of_a_file_runs_a_script_in_the_report(page, tmp_path):
    for number, text in enumerate(HOSTILE.values()):
        hostile_run(tmp_path / str(number), text)
        page.goto(write_report(tmp_path / str(number)).resolve().as_uri())
        for moved in page.locator("main *").all()[:20]:
            moved.dispatch_event("mouseover")
        assert page.evaluate("typeof window.pwned") == "undefined"
        assert not page.locator("img[src=x]").count()
