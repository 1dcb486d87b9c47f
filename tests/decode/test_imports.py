"""Commands that need no model start without ESPnet, whose import takes seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

import espnet_plugin.decode

LIGHT = (
    "espnet_plugin.decode",
    "espnet_plugin.decode.graph",
    "espnet_plugin.decode.lang",
    "espnet_plugin.decode.rescore",
    "espnet_plugin.decode.lattices.density",
    "espnet_plugin.decode.lattices.posteriors",
    "espnet_plugin.decode.lattices.svg",
    "espnet_plugin.decode.lattices.word_graph",
    "espnet_plugin.decode.retries",
    "espnet_plugin.decode.stored",
    "espnet_plugin.data.kaldi",
    "espnet_plugin.bin.compile_graph",
    "espnet_plugin.bin.lattice",
    "espnet_plugin.bin.prepare_lang",
    "espnet_plugin.bin.train_ngram",
    "espnet_plugin.bin.tune_scales",
)


def test_graphs_and_lattices_need_no_espnet() -> None:
    code = f"""
import sys
from importlib import import_module
for name in {LIGHT!r}:
    import_module(name)
    found = sorted(m for m in sys.modules if m.split(".")[0] in ("espnet2", "espnet", "nltk"))
    assert not found, f"{{name}} imports {{found[0]}}"
from espnet_plugin.decode import Beams, LatticeStore, Scales, ctc_topology, find_lattices
assert "espnet2" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    for name in espnet_plugin.decode.__all__:
        assert getattr(espnet_plugin.decode, name) is not None
        assert name in dir(espnet_plugin.decode)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        espnet_plugin.decode.nothing  # noqa: B018
    with pytest.raises(ImportError):
        from espnet_plugin.decode import nothing  # noqa: F401
