from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from graph_reference import random_lang, random_ngrams

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")
pytest.importorskip("kaldilm", reason="kaldilm is not installed")

from espnet_plugin.bin.compile_graph import main  # noqa: E402
from espnet_plugin.decode.graph import Graph, compile_graph, load_grammar  # noqa: E402


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    generator = np.random.default_rng(4)
    lang = random_lang(generator, silence=False)
    lang.save(tmp_path / "lang")
    random_ngrams(generator, lang.words[1:], 2).write(tmp_path / "lm.arpa")
    return tmp_path / "lang", tmp_path / "lm.arpa"


def test_is_made_again_only_if_something_changed(inputs: tuple[Path, Path]) -> None:
    lang, arpa = inputs
    out = lang.parent / "HLG.pt"
    assert compile_graph(lang, out, arpa=arpa)
    assert not compile_graph(lang, out, arpa=arpa)
    os.utime(arpa)  # the content counts, not the time
    assert not compile_graph(lang, out, arpa=arpa)
    assert compile_graph(lang, out, topology="modified", arpa=arpa)
    assert Graph.load(out).topology == "modified"
    arpa.write_text(arpa.read_text().replace("-1.", "-1.1", 1))
    assert compile_graph(lang, out, topology="modified", arpa=arpa)
    out.write_bytes(b"cut off")
    assert compile_graph(lang, out, topology="modified", arpa=arpa)
    out.unlink()
    assert compile_graph(lang, out, topology="modified", arpa=arpa)
    sizes = json.loads(Path(f"{out}.json").read_text())
    assert sizes["arcs"] == Graph.load(out).fsa.num_arcs


def test_every_kind_from_the_command(inputs: tuple[Path, Path]) -> None:
    lang, arpa = inputs
    for kind in ("H", "HL", "HLG", "G"):
        out = lang.parent / f"{kind}.pt"
        model = ["--arpa", str(arpa)] if kind in ("HLG", "G") else []
        main(["--lang_dir", str(lang), "--kind", kind, "--out", str(out), *model])
        if kind == "G":
            words = Graph.load(lang.parent / "HLG.pt").words
            assert words is not None
            assert load_grammar(out, words).num_arcs > 0
        else:
            assert Graph.load(out).kind == kind


def test_one_line_for_bad_input(inputs: tuple[Path, Path]) -> None:
    lang, arpa = inputs
    out = ["--out", str(lang.parent / "x.pt")]
    cases = {
        "HLG needs a language model": ["--lang_dir", str(lang)],
        "H takes no language model": ["--lang_dir", str(lang), "--kind", "H", "--arpa", str(arpa)],
        "no-lang/tokens.txt: missing; prepare_lang writes it": [
            *["--lang_dir", str(lang.parent / "no-lang"), "--arpa", str(arpa)]
        ],
        f"{lang}: a directory; name a file": [
            *["--lang_dir", str(lang), "--kind", "HL", "--out", str(lang)]
        ],
        "none.arpa: missing": ["--lang_dir", str(lang), "--arpa", str(lang.parent / "none.arpa")],
    }
    for message, cmd in cases.items():
        with pytest.raises(SystemExit, match=message) as error:
            main([*out, *cmd])
        assert "\n" not in str(error.value)
    assert not (lang.parent / "x.pt").exists()
