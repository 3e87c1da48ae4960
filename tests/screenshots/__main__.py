"""`make screenshots`: every page in light, dark and on a phone, as WebP, into `docs/img`."""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.builders.console_server import served
from tests.screenshots.pages import find
from tests.screenshots.shop import NOW, shop

FOLDER = Path(__file__).parents[2] / "docs" / "img"
MAX_BYTES = 80_000
MAX_HEIGHT = 2_400
FLAGS = ("--no-sandbox", "--disable-gpu", "--font-render-hinting=none", "--force-color-profile=srgb")


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at; `suffix` ends the picture's name."""

    suffix: str
    width: int
    height: int
    dark: bool = False


LOOKS = (Look("", 1440, 900), Look("-dark", 1440, 900, dark=True), Look("-390", 390, 844))


def take(page: Page, look: Look) -> bytes:
    """Return the page as WebP: in its whole height in the best quality that fits, or else its first screen.

    Raises:
        ValueError: it is too large in every quality.
    """
    whole = min(MAX_HEIGHT, max(look.height, page.evaluate("document.documentElement.scrollHeight")))
    devtools = page.context.new_cdp_session(page)
    for height in (whole, look.height):
        page.set_viewport_size({"width": look.width, "height": height})
        page.evaluate("document.fonts.ready")
        for quality in (90, 75, 60, 45):
            taken = devtools.send("Page.captureScreenshot", {"format": "webp", "quality": quality})
            if len(raw := base64.b64decode(taken["data"])) <= MAX_BYTES:
                return raw
    raise ValueError(f"{page.url} takes {len(raw):,} bytes, more than {MAX_BYTES:,}")


@contextmanager
def opened(browser: Browser, address: str, look: Look) -> Iterator[Page]:
    """A page with a frozen clock."""
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme="dark" if look.dark else "light",
        reduced_motion="reduce",
        timezone_id="UTC",
        locale="en-GB",
    )
    page = context.new_page()
    page.clock.set_fixed_time(NOW / 1000)
    page.goto(address, wait_until="load")
    yield page
    context.close()


def main() -> int:
    """Take them all; those of pages that are gone are deleted. Words name a part: `make screenshots T=queues-show`."""
    os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")
    program = shutil.which("chromium")
    if not program:
        print("Chromium is missing: `make test-browser` installs it")
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        console = stack.enter_context(shop())
        pictures, missing = find(console)
        wanted = [one for one in pictures if not sys.argv[1:] or one.name in sys.argv[1:]]
        servers = {role: stack.enter_context(served(console, role)) for role in {one.role for one in wanted}}
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=program, args=list(FLAGS))
        for picture in wanted:
            for look in LOOKS:
                with opened(browser, servers[picture.role] + picture.path, look) as page:
                    (FOLDER / f"{picture.name}{look.suffix}.webp").write_bytes(take(page, look))
            print(f"  {picture.name}: {picture.path}", flush=True)
        browser.close()
    names = {f"{picture.name}{look.suffix}.webp" for picture in pictures for look in LOOKS}
    for old in FOLDER.glob("*.webp"):
        if old.name not in names:
            old.unlink()
    if missing:
        print(f"No page of this shop leads to {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
