"""Two maps beside each other in the head browser."""

from __future__ import annotations

import pytest
from browsing import until, wait_shown


def test_a_kept_map_stays_beside_the_others_at_the_same_time(visit):
    page = visit.page
    page.click('#grid button[aria-label^="block 1, head 2"]')
    wait_shown(page, "0-2-1-2")
    wanted = page.evaluate("Array.from(browser.view.levels[0].levels)")
    assert page.is_hidden("#kept")
    page.click("#keep")
    page.wait_for_selector('#kept-stage[data-shown="0-2-1-2"]')
    assert page.inner_text("#shown-name") == "Looked at: asr_conformer, block 1, head 2"
    page.select_option("#pick-model", "1")
    wait_shown(page, "1-2-1-2")
    assert page.inner_text("#kept-name") == "Kept: asr_conformer, block 1, head 2"
    assert page.evaluate("Array.from(kept.view.levels[0].levels)") == wanted
    assert page.evaluate("Array.from(browser.view.levels[0].levels)") != wanted

    times = "(v => [v.view.x, v.view.y, v.view.x + v.view.span].map(v.time))"
    over = page.locator("#stage canvas.over")
    box = over.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, -600)
    until(page, "browser.view.view.span < 0.6 * browser.view.frames")
    seen, kept = page.evaluate(f"[{times}(browser.view), {times}(kept.view)]")
    assert kept == pytest.approx(seen, abs=1e-9)
    assert page.evaluate("browser.view.point.key") == page.evaluate("kept.view.point.key")
    assert "weight" in page.inner_text("#kept-readout")
    page.focus("#kept-stage canvas.over")
    page.keyboard.press("0")
    until(page, "browser.view.view.span === browser.view.frames")
    page.evaluate("seek(0.4)")
    until(
        page, "kept.view.cursor !== null && Math.abs(kept.view.time(kept.view.cursor) - 0.4) < 0.02"
    )

    page.select_option("#pick-utterance", "0")
    page.wait_for_selector('#kept-stage[data-shown="0-0-1-2"]')
    page.click("#keep")  # another one in its place
    page.wait_for_selector('#kept-stage[data-shown="1-0-1-2"]')
    page.click("#let-go")
    assert page.is_hidden("#kept") and page.is_hidden("#shown-name")
    assert page.evaluate("document.activeElement.id") == "keep"
