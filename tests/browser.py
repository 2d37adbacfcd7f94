"""A real browser for the tests of pages: chromium without a window, driven by playwright.

`chromium()` starts one, for a fixture; `visit` opens an address in it, and keeps the requests and errors.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE = (390, 844)
DESKTOP = (1280, 900)


@contextlib.contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """A browser of playwright. The test is skipped, with a reason, if playwright or chromium is missing."""
    reason = 'pages are tested in a browser where playwright is: pip install -e ".[browser]"'
    library = pytest.importorskip("playwright.sync_api", reason=reason)
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"pages are tested where a browser is installed: none of {', '.join(NAMES)} is on the PATH")
    with library.sync_playwright() as playwright:
        options = ["--no-sandbox", *arguments]  # a container's root has no sandbox
        with contextlib.closing(playwright.chromium.launch(executable_path=program, args=options)) as browser:
            yield browser


@dataclass
class Visit:
    """A page of playwright that is open, every address that it requested, and every error that it reported."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def sideways(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def style(self, selector: str, name: str) -> str:
        """A computed style of the first element that matches."""
        return self.page.locator(selector).first.evaluate("(e, name) => getComputedStyle(e)[name]", name)


@contextlib.contextmanager
def visit(
    browser: Any, url: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False, touch: bool = False
) -> Iterator[Visit]:
    """Open an address in a fresh window of this size in pixels, in light or dark colours."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light", has_touch=touch
    )
    opened = Visit(context.new_page())
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.on("console", lambda said: opened.errors.append(said.text) if said.type == "error" else None)
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    try:
        opened.page.goto(url)
        yield opened
    finally:
        context.close()


def contrast(one: str, other: str) -> float:
    """Contrast of two opaque colours such as `rgb(28, 30, 33)`, from 1 to 21 (WCAG 2.2); text needs 4.5."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    found = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert found, f"{colour} is not opaque"
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(x) / 255 for x in found.groups())
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
