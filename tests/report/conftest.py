"""Analyses, their page, and a real headless Chromium that opens it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Iterator, List

import pytest
from analysis_files import write_analysis
from browsing import ARGUMENTS, BEGIN, Visit, visiting

from espnet_plugin.report.analyses import Extras, read_analyses
from espnet_plugin.report.html.page import write_page


@pytest.fixture(scope="session")
def analysis(tmp_path_factory) -> Path:
    """A directory of ``bin.analyze``: four blocks, two of which use one map; four heads."""
    return write_analysis(tmp_path_factory.mktemp("analysis") / "one")


@pytest.fixture(scope="session")
def two_analyses(analysis, tmp_path_factory) -> List[Path]:
    """Two models of different groups."""
    folder = tmp_path_factory.mktemp("analysis") / "two"
    other = write_analysis(folder, "asr_reuse", groups=((0, 1), (2, 3)), seed=5)
    return [analysis, other]


@pytest.fixture(scope="session")
def page_file(two_analyses, tmp_path_factory) -> Path:
    """The page of both."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, read_analyses(two_analyses), Extras())
    return path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running browser; skipped, with the reason, where there is none."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium: run tools/system.sh, or name one by CHROMIUM=/path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def opened(chromium, page_file) -> Iterator[Visit]:
    """The page of two models, open, for all tests."""
    with visiting(chromium, page_file) as one:
        yield one


@pytest.fixture
def visit(opened) -> Iterator[Visit]:
    """The same page as it is when it is opened; checked afterwards."""
    opened.page.evaluate(BEGIN)
    opened.page.wait_for_selector('#stage[data-shown="0-2-0-0"]')
    yield opened
    opened.check()
