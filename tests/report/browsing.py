"""A page in a browser, watched."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
).split()
"""A browser for root, without a screen, that by itself asks no network."""


BEGIN = """
browser.audio.pause();
browser.audio.currentTime = 0;
browser.clock = null;
kept.at = null;
delete document.getElementById("stage").dataset.shown;
Object.assign(browser, {block: 0, head: 0});
chooseModel(0);
browser.view.reset();
browser.view.cursor = null;
document.querySelector('[role="tab"]').click();
document.activeElement.blur();
scrollTo(0, 0);
"""
"""JavaScript: the page as it is when it is opened."""


class Visit:
    """A page that is open, and what went wrong with it."""

    def __init__(self, page: Any, seen: Dict[str, List[str]]) -> None:
        self.page, self.seen = page, seen

    def check(self) -> None:
        """No error, no warning, and nothing was asked of a network."""
        assert self.seen["errors"] == []
        assert self.seen["messages"] == []
        assert self.seen["requests"] == []


@contextmanager
def visiting(browser: Any, path: Path, shown: bool = True, **options: Any) -> Iterator[Visit]:
    """Open a page; checked at the end.

    Args:
        shown: wait until the head browser shows a map.
        options: of playwright's contexts: viewport, color_scheme and so on.
    """
    options.setdefault("viewport", {"width": 1280, "height": 900})
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(20000)
    seen: Dict[str, List[str]] = {"errors": [], "messages": [], "requests": []}
    page.on("pageerror", lambda error: seen["errors"].append(str(error)))
    page.on("console", lambda message: seen["messages"].append(f"{message.type} {message.text}"))
    local = (path.as_uri(), "data:", "blob:")
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(local) else seen["requests"].append(request.url)
        ),
    )
    page.goto(path.as_uri())
    if shown:
        page.wait_for_selector("#stage[data-shown]")
    visit = Visit(page, seen)
    yield visit
    visit.check()
    context.close()


def until(page: Any, condition: str, seconds: float = 20.0) -> None:
    """Wait for an expression to be true. (playwright's own waiting needs eval, which the page's
    policy forbids.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def shown(page: Any) -> str:
    """Which map is shown: model, utterance, block, head."""
    return page.evaluate("document.getElementById('stage').dataset.shown")


def wait_shown(page: Any, value: str) -> None:
    """Until that is so."""
    page.wait_for_selector(f'#stage[data-shown="{value}"]')
