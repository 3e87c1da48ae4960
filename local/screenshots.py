"""`make screenshots`: every page of the running stack's console, in light, dark and on a phone.

The pictures go to `.local/screenshots`: `overview-light.png`, `overview-dark.png`, `overview-phone.png`.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from local import stack
from local.settings import Refused, Settings
from local.stack import Stack

PAGES = {
    "home": ("/", None),
    "docs": ("/docs", None),
    "overview": ("/console", "owner"),
    "queues": ("/console/queues", "owner"),
    "queue": ("/console/queues/email", "owner"),
    "dead-letters": ("/console/dead-letters", "owner"),
    "bots": ("/console/bots", "owner"),
    "health": ("/console/health", "owner"),
    "kill-switch": ("/console/health?open=kill-switch", "owner"),
    "my": ("/my", "customer"),
}
"""Name of the picture -> address, and who looks."""

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
}
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def main() -> int:
    """Take them; 1 and a reason on stderr if it cannot."""
    settings = Settings.from_environment()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("Chromium is missing: `make test-browser` installs it.", file=sys.stderr)
        return 1
    try:
        running = stack.read(stack.path(settings))
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    folder = settings.state / "screenshots"
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        states = {role: _signed_in(browser, running, role) for role in {role for _, role in PAGES.values() if role}}
        for look, options in LOOKS.items():
            for name, (path, role) in PAGES.items():
                context = browser.new_context(storage_state=states[role] if role else None, **options)
                page = context.new_page()
                page.goto(running["console_url"].removesuffix("/console") + path, wait_until="networkidle")
                page.screenshot(path=folder / f"{name}-{look}.png")
                context.close()
        browser.close()
    print(f"{len(PAGES) * len(LOOKS)} pictures in {folder}")
    return 0


def _signed_in(browser: Browser, running: Stack, role: str) -> Any:
    """The cookies of a role's session."""
    context = browser.new_context()
    sign_in(context.new_page(), running, role, "/my" if role == "customer" else "/console")
    state = context.storage_state()
    context.close()
    return state


def sign_in(page: Page, running: Stack, role: str, path: str) -> None:
    """Sign in through the user pool's own page, on the way to `path`."""
    user = running["users"][role]
    page.goto(running["console_url"].removesuffix("/console") + f"/console/sign-in?next={path}")
    page.fill("#username", user["username"])
    page.fill("#password", user["password"])
    page.click("button[type=submit]")
    page.wait_for_url(f"**{path}")


if __name__ == "__main__":
    sys.exit(main())
