"""The page in a real headless Chromium: clicks, keys, zoom, sound; no errors, no network."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from analysis_files import RATE, describe, make_context, make_maps
from browsing import shown, until, visiting, wait_shown

from espnet_plugin.analysis.examples.examples import Examples
from espnet_plugin.analysis.suite.measure import Utterances
from espnet_plugin.analysis.suite.results import write_results
from espnet_plugin.report.analyses import Extras, read_analyses
from espnet_plugin.report.html.page import write_page

READ = """
const copies = new Map();
const at = (canvas, x, y) => {
  if (!copies.has(canvas)) {
    copies.set(canvas, canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height));
  }
  const place = 4 * (Math.round(y * v.ratio) * canvas.width + Math.round(x * v.ratio));
  return Array.from(copies.get(canvas).data.slice(place, place + 4));
};
"""
"""JavaScript: the colour of a canvas at a place."""


def test_a_click_on_a_head_shows_its_map_and_figures(visit):
    page = visit.page
    page.click('#grid button[aria-label^="block 1, head 2"]')
    wait_shown(page, "0-2-1-2")
    assert page.inner_text("#head-name").startswith("Block 1, head 2")
    assert (
        page.get_attribute('#grid button[aria-label^="block 1, head 2"]', "aria-checked") == "true"
    )
    stored = page.evaluate("DATA.models[0].examples.utterances[2].blocks[1].heads[2]")
    said = page.inner_text("#head-figures")
    assert f"{stored['globalness']:.4g} nats" in said
    assert page.locator("#grid button[aria-checked=true]").count() == 1


def test_the_pixels_are_those_of_the_map(visit):
    page = visit.page
    levels = page.evaluate("Array.from(browser.view.levels[0].levels)")
    frames = page.evaluate("browser.view.frames")
    maps = make_maps(0, 4, frames)[0, 0].numpy()
    wanted = np.rint(np.sqrt(maps / maps.max()) * 255)
    assert np.abs(np.array(levels).reshape(frames, frames) - wanted).max() <= 0  # lossless
    shape = page.evaluate("[browser.view.under.width, browser.view.under.height]")
    assert min(shape) > 400
    painted = page.evaluate(
        "(() => {const v = browser.view; v.view = {x: 0, y: 0, span: 20}; v.draw();"
        + READ
        + "return [at(v.under, v.xOf(15.5), v.yOf(5.5)), at(v.under, v.xOf(5.5), v.yOf(5.5))]"
        ".map((pixel) => pixel.slice(0, 3));})()"
    )
    magma = page.evaluate("Array.from(palette('magma', 1))")
    for pixel, level in zip(painted, (wanted[5, 15], wanted[5, 5]), strict=True):
        word = magma[int(level)]
        assert pixel == [word & 255, word >> 8 & 255, word >> 16 & 255]


def test_the_wheel_zooms_where_the_pointer_is_and_a_drag_moves(visit):
    page = visit.page
    over = page.locator("#stage canvas.over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    x, y = box["x"] + 300, box["y"] + 300
    page.mouse.move(x, y)
    key = page.evaluate("browser.view.keyAt(300)")
    page.mouse.wheel(0, -400)
    until(page, "browser.view.view.span < browser.view.frames")
    assert page.evaluate("browser.view.keyAt(300)") == pytest.approx(key, abs=0.6)
    before = page.evaluate("browser.view.view")
    page.mouse.down()
    page.mouse.move(x - 60, y - 30, steps=4)
    page.mouse.up()
    after = page.evaluate("browser.view.view")
    scale = before["span"] / page.evaluate("browser.view.side")
    assert after["x"] - before["x"] == pytest.approx(60 * scale, abs=0.1)
    assert after["y"] - before["y"] == pytest.approx(30 * scale, abs=0.1)
    assert page.evaluate("browser.audio.currentTime") == 0  # a drag is no click
    page.mouse.dblclick(x, y)
    assert page.evaluate("browser.view.view.span === browser.view.frames")


def test_a_click_seeks_in_the_sound_and_the_cursor_is_on_both_axes(visit):
    page = visit.page
    over = page.locator("#stage canvas.over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.click(box["x"] + 350, box["y"] + 400)
    wanted = page.evaluate("browser.clock.timeOf(browser.view.keyAt(350))")
    until(page, "browser.audio.currentTime > 0 && !browser.audio.seeking")
    assert page.evaluate("browser.audio.currentTime") == pytest.approx(wanted, abs=0.01)
    until(page, "browser.view.cursor !== null")
    cursor = page.evaluate("browser.view.cursor")
    assert cursor == pytest.approx(page.evaluate("browser.view.keyAt(350)"), abs=0.5)
    page.mouse.move(5, 5)
    orange = page.evaluate(
        "(() => {const v = browser.view;"
        + READ
        + "return [at(v.over, v.xOf(v.cursor), 9), at(v.over, v.left + 9, v.yOf(v.cursor))];})()"
    )
    for red, green, blue, there in orange:
        assert there > 100 and red > 200 and green < 140 and blue < 90


def test_the_sound_plays_and_the_cursor_moves_with_it(visit):
    page = visit.page
    assert page.evaluate("browser.audio.duration") == pytest.approx(3.1, abs=0.01)
    page.focus("#stage canvas.over")
    page.keyboard.press("Space")
    until(page, "browser.audio.currentTime > 0.3")
    first = page.evaluate("browser.view.cursor")
    until(page, f"browser.view.cursor > {first}")
    time, cursor = page.evaluate("[browser.audio.currentTime, browser.view.cursor]")
    assert cursor == pytest.approx((time * 16000 - 200) / 320 + 0.5, abs=15)
    page.keyboard.press("Space")
    assert page.evaluate("browser.audio.paused")
    assert page.locator("#words button.now").count() == 1


def test_arrow_keys_walk_over_blocks_and_heads(visit):
    page = visit.page
    page.focus("#grid button[tabindex='0']")
    page.keyboard.press("ArrowRight")
    wait_shown(page, "0-2-0-1")
    page.keyboard.press("ArrowDown")
    wait_shown(page, "0-2-1-1")
    page.keyboard.press("End")
    wait_shown(page, "0-2-3-3")
    page.keyboard.press("ArrowRight")  # nothing is there
    assert shown(page) == "0-2-3-3"
    assert "the map of block 2" in page.inner_text("#head-name")
    assert page.locator("#grid button[tabindex='0']").count() == 1


def test_weights_are_read_by_keyboard(visit):
    page = visit.page
    page.focus("#stage canvas.over")
    page.evaluate("browser.view.read(10, 12)")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    text = page.inner_text("#readout")
    frames = page.evaluate("browser.view.frames")
    weights = make_maps(0, 4, frames)[0, 0].numpy()
    key, query = page.evaluate("[browser.view.point.key, browser.view.point.query]")
    assert (key, query) == (12, 14) if frames > 150 else (11, 13)
    assert f"query {query} (" in text and f"key {key} (" in text
    value = float(text.rsplit("≈", 1)[1].replace("−", "-"))
    level = 255 * np.sqrt(weights[query, key] / weights.max())
    assert 255 * np.sqrt(value / weights.max()) == pytest.approx(level, abs=1)
    page.keyboard.press("+")
    until(page, "browser.view.view.span < browser.view.frames")
    page.keyboard.press("0")
    until(page, "browser.view.view.span === browser.view.frames")


def test_every_control_is_reached_by_tab_and_focus_is_seen(visit):
    page = visit.page
    reached = []
    page.focus(".skip")
    page.keyboard.press("Shift+Tab")
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(() => {const e = document.activeElement;"
                "const label = e.getAttribute('aria-label') || e.innerText;"
                "return [e.tagName + (e.id ? '#' + e.id : '') + '.' + e.className,"
                "getComputedStyle(e).outlineStyle, label || e.labels?.[0]?.innerText || ''];})()"
            )
        )
        if "details" in reached[-1][0].lower() or "SUMMARY" in reached[-1][0]:
            break
    names = " ".join(name for name, _, _ in reached)
    for wanted in ("skip", "#theme", "#pick-model", "#pick-utterance", "#gain", "#zoom-in"):
        assert wanted in names, wanted
    assert "CANVAS.over" in names and "AUDIO#audio" in names
    for name, outline, label in reached:
        assert outline != "none" or "AUDIO" in name, name
        assert label.strip() or "AUDIO" in name, name


def test_other_models_and_utterances(visit):
    page = visit.page
    page.select_option("#pick-model", "1")
    wait_shown(page, "1-2-0-0")
    page.select_option("#pick-utterance", "0")
    wait_shown(page, "1-0-0-0")
    assert page.evaluate("browser.view.frames") == 44
    until(page, "Math.abs(browser.audio.duration - 0.9) < 0.01")
    assert page.locator("#grid button").count() == 16


def test_what_was_read_goes_with_its_utterance(visit):
    page = visit.page
    page.focus("#stage canvas.over")
    page.keyboard.press("ArrowRight")
    assert "weight" in page.inner_text("#readout") and "query" in page.inner_text("#readout")
    page.select_option("#pick-utterance", "0")
    wait_shown(page, "0-0-0-0")
    assert page.inner_text("#readout") == "Point at the map to read a weight."


def test_a_map_that_is_decoded_late_is_not_shown_for_another_utterance(visit):
    page = visit.page
    page.select_option("#pick-utterance", "0")
    wait_shown(page, "0-0-0-0")
    page.evaluate("pictures.delete('p-0-2-0-0'); chooseUtterance(2); chooseUtterance(0)")
    page.wait_for_timeout(500)
    assert shown(page) == "0-0-0-0"
    assert page.evaluate("browser.view.levels[0].side === browser.view.frames")


def test_no_figure_offers_to_send_itself_anywhere(visit):
    page = visit.page
    page.wait_for_selector(".js-plotly-plot .modebar-btn", state="attached")
    titles = page.eval_on_selector_all(".modebar-btn", "all => all.map(b => b.dataset.title)")
    assert "Reset axes" in titles
    assert not [title for title in titles if re.search("cloud|share|edit|send", title or "", re.I)]


def test_a_head_chosen_in_a_table_is_shown(visit):
    page = visit.page
    page.click('table.heat[data-model="1"] button[aria-label^="block 2, head 1"] >> nth=0')
    wait_shown(page, "1-2-2-1")
    pressed = page.locator('table.heat[data-model="1"] button[aria-pressed="true"]')
    assert (
        pressed.evaluate_all("all => new Set(all.map(b => b.dataset.block)).size") == 2
    )  # 2 and 3


def test_the_map_over_phones_is_that_of_the_head(visit, two_analyses):
    page = visit.page
    page.evaluate("drawAll()")
    page.click('#grid button[aria-label^="block 1, head 3"]')
    until(page, "document.getElementById('phoneme-title').innerText.includes('block 1, head 3')")
    shown = page.evaluate(
        "(() => {const one = DATA.phonemes[phones.choice], n = one.symbols.length ** 2;"
        "const from = phones.place * n;"
        "return [one.key, one.symbols, one.values.slice(from, from + n)];})()"
    )
    with np.load(two_analyses[0] / "relation.npz") as stored:
        symbols, relation = [str(s) for s in stored["symbols"]], stored["relation"]
        row = list(zip(stored["block"], stored["head"], strict=True)).index((1, 3))
    order = [symbols.index(symbol) for symbol in shown[1]]
    wanted = relation[row][order][:, order].ravel()
    found = np.array([np.nan if v is None else v for v in shown[2]], dtype=float)
    assert shown[0] == "relation" and np.isfinite(found).any()
    assert np.allclose(found, wanted, rtol=1e-3, atol=1e-6, equal_nan=True)
    page.select_option("#phoneme-map", label="Phoneme attention, asr_reuse")
    assert "Phoneme attention of block" in page.inner_text("#phoneme-title")


def test_figures_are_drawn_in_light_and_dark(visit):
    page = visit.page
    page.emulate_media(color_scheme="dark")
    page.evaluate("drawAll()")
    until(page, "[...document.querySelectorAll('[data-figure]')].every(f => f.dataset.drawn)")
    count = page.evaluate("DATA.figures.length")
    assert count >= 3
    assert page.locator("[data-figure].js-plotly-plot").count() == count
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="light")
    assert sum(map(int, dark[4:-1].split(","))) < 200 < 600 < sum(map(int, light[4:-1].split(",")))


def test_tabs_show_one_panel_and_print_shows_all(visit):
    page = visit.page
    panels = page.locator('#heads [role="tabpanel"]')
    visible = "all => all.filter(p => p.offsetHeight > 0).length"
    assert panels.count() == 6 and panels.evaluate_all(visible) == 1
    page.focus('#heads [role="tab"][aria-selected="true"]')
    page.keyboard.press("ArrowRight")
    assert page.inner_text('#heads [role="tab"][aria-selected="true"]') == "Globalness G"
    assert panels.evaluate_all(visible) == 1
    page.emulate_media(media="print")
    assert panels.evaluate_all(visible) == 6
    assert not page.is_visible(".top") and not page.is_visible("#audio")
    page.emulate_media(media="screen")
    assert len(page.pdf()) > 50_000


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_no_width_needs_scrolling_sideways(visit, width):
    page = visit.page
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("drawAll()")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert 140 <= page.evaluate("browser.view.side") < width
    page.set_viewport_size({"width": 1280, "height": 900})


@pytest.fixture(scope="module")
def large_page(tmp_path_factory):
    """12 blocks of 12 heads, 35 s, 1,750 frames: four maps' pictures, each 36 times."""
    folder = tmp_path_factory.mktemp("large")
    blocks = tuple((block,) for block in range(12))
    context = make_context(folder / "made", (35.02,), blocks, 12)
    measure = Examples(context, context.utterances, int(9e6))
    (utterance,) = context.utterances
    batch = Utterances(
        [utterance.utt_id], torch.tensor([utterance.samples]), RATE, torch.zeros(1, 0)
    )
    measure.begin(batch)
    maps = make_maps(1, 4, 1750)
    measure.look(0, maps, torch.tensor([1750]))
    first = measure._now[utterance.utt_id]
    measure._now[utterance.utt_id] = [
        (block, head, *first[head % 4][2:]) for block in range(12) for head in range(12)
    ]
    measure.end([], torch.tensor([1750]))
    out = folder / "analysis"
    write_results(out, [measure], *describe("base", context), {})
    page = folder / "report.html"
    size = write_page(page, read_analyses([out]), Extras())
    return SimpleNamespace(path=page, size=size)


def test_a_large_page_is_small_opens_fast_and_zooms_smoothly(chromium, large_page):
    assert 3e6 < large_page.size == large_page.path.stat().st_size <= 15e6
    opened, steps = [], []
    for _ in range(3):
        with visiting(chromium, large_page.path) as visit:
            page = visit.page
            assert page.evaluate("browser.view.frames") == 1750
            opened.append(page.evaluate("Number(document.getElementById('stage').dataset.opened)"))
            steps.append(
                page.evaluate(
                    "(async () => {const v = browser.view, times = [];"
                    "for (let n = 0; n < 40; n++) {const from = performance.now();"
                    "v.zoom(n < 20 ? .85 : 1 / .85);"
                    "await new Promise((done) => requestAnimationFrame(() => done()));"
                    "times.push(performance.now() - from);}"
                    "return times.sort((a, b) => a - b)[20];})()"
                )
            )
        if min(opened) < 2000 and min(steps) < 50:
            break
    assert min(opened) < 2000, f"opening took {opened} ms"
    assert min(steps) < 50, f"a step of zooming took {steps} ms"
