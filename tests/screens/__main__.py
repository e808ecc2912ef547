"""`make screenshots`: every page of the console at two sizes, in light and dark, as pictures in docs/."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.conftest import PROJECT
from tests.screens.data import Filled
from tests.screens.shooting import PAGES, log_in, serving, show

FOLDER = PROJECT / "docs" / "screens"
SIZES = {"wide": (1440, 900), "phone": (390, 844)}


#: Takes the temporary folder of the site, and the name of this host, out of what is shown.
WITHOUT_FOLDER = """([base, host]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    texts.currentNode.data = texts.currentNode.data.replaceAll(base, "").replaceAll(host, "@node1");
}"""


def shoot(browser: Browser, url: str, secret: str, wanted: list[str], base: str) -> None:
    """Store a picture of each page of the site in the folder `base`."""
    context = browser.new_context(timezone_id="Europe/Vienna", locale="en-GB")
    page = context.new_page()
    log_in(page, url, secret)
    for name in PAGES:  # the phone shows all of a page
        if wanted and name not in wanted:
            continue
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                show(page, url, base, name)
                page.evaluate(WITHOUT_FOLDER, [base, f"@{socket.gethostname()}"])
                page.screenshot(path=FOLDER / f"{name}-{size}-{scheme}.jpg", type="jpeg", quality=70,
                                full_page=size == "phone")
                if (name, size, scheme) == ("failed", "wide", "light"):  # the picture of the README
                    page.screenshot(path=FOLDER.parent / "console.png")
    context.close()


def main() -> None:
    found = shutil.which("chromium")
    if found is None:
        sys.exit("no chromium: apt-get install chromium")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as base, sync_playwright() as playwright:
        filled = Filled(Path(base))
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        with serving(filled) as url:
            shoot(browser, url, filled.link(), sys.argv[1:], base)
        browser.close()
        filled.store.close()
    print(f"{len(list(FOLDER.glob('*.jpg')))} pictures in {FOLDER}")


main()
