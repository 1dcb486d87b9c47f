"""The page's text: what is in it, what is left out, how large it may be."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from analysis_files import write_analysis

from espnet_plugin.atomic import write_json
from espnet_plugin.report.analyses import Extras, ReportError, read_analyses, read_extras
from espnet_plugin.report.html.page import render, write_page

MOST = 15_000_000


class Page(HTMLParser):
    """Elements by id, and the texts of scripts."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.scripts, self.tags, self._open = {}, {}, [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            assert attributes["id"] not in self.ids, attributes["id"]
            self.ids[attributes["id"]] = attributes
        self._open = attributes.get("id", "") if tag == "script" else None

    def handle_data(self, data):
        if self._open is not None:
            self.scripts[self._open] = self.scripts.get(self._open, "") + data


def page_of(*folders, extras=None, most=MOST):
    return Page(render(read_analyses(folders), extras or Extras(), None, most))


def sections(page):
    return [a["href"][1:] for tag, a in page.tags if tag == "a" and a.get("class") != "skip"]


def test_everything_is_in_the_file(page_file):
    text = page_file.read_text(encoding="utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "action", "poster"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:")), (tag, name, value)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy and "http" not in policy
    assert not re.search(r"@import|url\(", text[: text.index("</style>")])
    library = gzip.decompress(base64.b64decode(page.scripts["plotly"]))
    assert b"plotly.js v" in library[:200]


def test_ids_are_unique_and_labels_lead_somewhere(page_file):
    page = Page(page_file.read_text(encoding="utf-8"))
    for _, attributes in page.tags:
        for name in ("aria-labelledby", "aria-controls"):
            if name in attributes:
                assert attributes[name] in page.ids
    assert sum(tag == "h1" for tag, _ in page.tags) == 1


def test_sections_of_what_was_not_measured_are_left_out(tmp_path, analysis):
    whole = ["overview", "heads", "browser", "phonemes", "findings", "about"]
    assert sections(page_of(analysis)) == whole
    for gone, left in (
        ("examples", ["overview", "heads", "phonemes", "findings", "about"]),
        ("relation", ["overview", "heads", "phonemes", "findings", "about"]),
        ("phoneme_attention", ["overview", "heads", "findings", "about"]),
        ("attention", ["overview", "findings", "about"]),
        ("patterns", ["about"]),
    ):
        folder = tmp_path / gone
        shutil.copytree(analysis, folder)
        analysis = folder
        (folder / f"{gone}.json").unlink()
        assert sections(page_of(folder)) == left


def test_the_head_tables_hold_the_figures(analysis):
    text = render(read_analyses([analysis]), Extras(), None, MOST)
    attention = json.loads((analysis / "attention.json").read_text())
    head = attention["blocks"][1]["heads"][2]
    assert f'aria-label="block 1, head 2: {head["category"]}"' in text
    assert f"block 1, head 2: {head['globalness']:.3g} nats" in text
    assert text.count("3 = 2") == 6  # a block that uses the map of another, in every table


def test_names_from_outside_are_text(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>&\u2028"
    folder = write_analysis(tmp_path / "evil", evil, (0.5,), measures=("attention", "examples"))
    examples = json.loads((folder / "examples.json").read_text())
    examples["utterances"][0]["text"] = evil
    examples["utterances"][0]["words"] = [[0.0, 0.2, evil]]
    write_json(folder / "examples.json", examples)
    text = render(read_analyses([folder]), Extras(), None, MOST)
    assert "<img src=x" not in text
    raw = Page(text).scripts["data"]
    assert "\u2028" not in raw  # some scripts would end a line there
    data = json.loads(raw)
    assert data["models"][0]["examples"]["utterances"][0]["words"] == [[0.0, 0.2, evil]]


def test_examples_that_do_not_fit_are_left_out_and_named(tmp_path):
    analysis = write_analysis(tmp_path / "one", measures=("attention", "examples"))
    whole = len(render(read_analyses([analysis]), Extras(), None, MOST).encode())
    text = render(read_analyses([analysis]), Extras(), None, whole - 30_000)
    assert len(text.encode()) <= whole - 30_000
    assert "Left out, since the page would be too large: tone-2." in text
    kept = json.loads(Page(text).scripts["data"])["models"][0]["examples"]["utterances"]
    assert [one["id"] for one in kept] == ["tone-0", "tone-1"]
    with pytest.raises(ReportError, match="without any example"):
        render(read_analyses([analysis]), Extras(), None, 1_000_000)


def test_plan_and_diagnosis(tmp_path, analysis):
    (tmp_path / "plan.yaml").write_text(
        "stack: {family: conformer, blocks: 4, model: exp/asr}\n"
        "actions:\n  - {block: 1, do: drop}\n  - {block: 3, do: reuse_attention, leader: 2}\n"
        "because:\n  - it is <odd>\n  - like block 2\n"
    )
    flag = {"block": 1, "rule": "trend:vertical", "figures": "vertical 0.9, median 0.1"}
    diagnosis = {
        "schema": "espnet_plugin/diagnosis/1",
        "data": {"utterances": 3},
        "rule": {"times": 5.0, "least": 0.4, "labels": []},
        "flags": [flag],
        "abnormal": [1],
        "candidates": [1],
    }
    write_json(tmp_path / "diagnosis.json", diagnosis)
    extras = read_extras(tmp_path / "plan.yaml", tmp_path / "diagnosis.json", [], None)
    text = render(read_analyses([analysis]), extras, None, MOST)
    assert "it is &lt;odd&gt;" in text and "reuse 3 of 2" in text
    assert "trend:vertical" in text and text.count('class="act">abnormal') == 1
    assert "deviate most" not in text
    diagnosis.update(flags=[], abnormal=[], candidates=[0, 2])
    write_json(tmp_path / "diagnosis.json", diagnosis)
    extras = read_extras(None, tmp_path / "diagnosis.json", [], None)
    text = render(read_analyses([analysis]), extras, None, MOST)
    assert "No block is abnormal." in text and "deviate most, as asked for: 0, 2." in text


def test_names_of_models_are_theirs_or_given(two_analyses):
    assert [one.name for one in read_analyses(two_analyses)] == ["asr_conformer", "asr_reuse"]
    assert [one.name for one in read_analyses(two_analyses, ["a", "b"])] == ["a", "b"]
    twice = [one.name for one in read_analyses([two_analyses[0]] * 2)]
    assert twice == [str(two_analyses[0])] * 2 or len(set(twice)) == 2
    with pytest.raises(ReportError, match="1 names for 2 analyses"):
        read_analyses(two_analyses, ["a"])
    with pytest.raises(ReportError, match="one name"):
        read_analyses(two_analyses, ["a", "a"])


def test_the_page_is_written_whole(tmp_path, analysis):
    size = write_page(tmp_path / "page.html", read_analyses([analysis]), Extras(), "A <title>")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert size == len(text.encode()) and "<h1>A &lt;title&gt;</h1>" in text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
