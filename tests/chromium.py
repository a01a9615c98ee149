"""One headless Chromium for every test that opens a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from conftest import missing

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium(unseen: str) -> Iterator:
    """A started browser, Playwright's ``Browser``.

    ``unseen`` says what is not looked at where the machine has no Chromium; the test is skipped.
    """
    path = next((shutil.which(name) for name in NAMES if shutil.which(name)), None)
    if path is None:
        missing(f"no chromium: {unseen}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
