"""Graphs as files, made only where their inputs have changed."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any, Dict, Optional

from espnet_plugin.atomic import PathLike, write_json
from espnet_plugin.decode.graph.build import hl_graph, hlg_graph
from espnet_plugin.decode.graph.grammar import load_grammar, save_grammar
from espnet_plugin.decode.graph.graph import FORMAT, ctc_graph
from espnet_plugin.decode.graph.topology import check_topology
from espnet_plugin.decode.lang.langdir import LangDir

KINDS = ("H", "HL", "HLG", "G")
_LANG_FILES = ("tokens.txt", "words.txt", "lexiconp.txt", "lang.json")

logger = logging.getLogger(__name__)


def compile_graph(
    lang_dir: PathLike,
    out: PathLike,
    kind: str = "HLG",
    topology: str = "standard",
    arpa: Optional[PathLike] = None,
) -> bool:
    """Compile a graph and write it, unless ``out`` was made from the same inputs.

    Args:
        lang_dir: a language directory.
        out: the file for :meth:`Graph.load` or, of kind G, for :func:`load_grammar`. Beside it
            stands ``out`` with ``.json`` added: what it was made from, and its sizes.
        kind: one of :data:`KINDS`.
        topology: "standard" or "modified".
        arpa: the language model of HLG and G.

    Returns:
        Whether the graph was compiled; False if it was there already.

    Raises:
        FileNotFoundError: an input is missing.
        ValueError: an unknown kind or topology, an ARPA missing or not wanted, bad inputs.
        ImportError: k2 or kaldilm is not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    check_topology(topology)
    if (arpa is None) == (kind in ("HLG", "G")):
        raise ValueError(
            f"{kind} needs a language model (an ARPA file)"
            if arpa is None
            else f"{kind} takes no language model"
        )
    inputs = _inputs(lang_dir, kind, topology, arpa)
    out, sidecar = Path(out), Path(f"{out}.json")
    if out.is_dir():
        raise ValueError(f"{out}: a directory; name a file for the graph")
    if _is_made(out, sidecar, inputs):
        logger.info("%s: made from the same inputs before", out)
        return False
    sidecar.unlink(missing_ok=True)
    start = time.monotonic()
    lang = LangDir.load(lang_dir)
    logger.info(
        "L: %d words, %d pronunciations, %d tokens, %.1f s",
        len(lang.words) - 1,
        len(lang.pronunciations),
        len(lang.tokens),
        time.monotonic() - start,
    )
    sizes = _make(lang, out, kind, topology, arpa)
    seconds = time.monotonic() - start
    write_json(
        sidecar,
        {"inputs": inputs, "bytes": out.stat().st_size, "seconds": round(seconds, 3), **sizes},
    )
    logger.info("%s: %d bytes, %.1f s in all", out, out.stat().st_size, seconds)
    return True


def _make(
    lang: LangDir, out: Path, kind: str, topology: str, arpa: Optional[PathLike]
) -> Dict[str, int]:
    start = time.monotonic()
    if arpa is not None:
        grammar = load_grammar(arpa, lang.words)
        sizes = {"states": grammar.shape[0], "arcs": grammar.num_arcs}
        logger.info("G: %d states, %d arcs, %.1f s", *sizes.values(), time.monotonic() - start)
        if kind == "G":
            save_grammar(grammar, lang.words, out)
            return sizes
        graph = hlg_graph(lang, grammar, topology)
    elif kind == "HL":
        graph = hl_graph(lang, topology)
    else:
        graph = ctc_graph(lang.tokens, topology)
    graph.save(out)
    return {"states": graph.fsa.shape[0], "arcs": graph.fsa.num_arcs}


def _inputs(
    lang_dir: PathLike, kind: str, topology: str, arpa: Optional[PathLike]
) -> Dict[str, Any]:
    paths = {name: Path(lang_dir) / name for name in _LANG_FILES}
    if arpa is not None:
        paths["arpa"] = Path(arpa)
    for name, path in paths.items():
        if not path.is_file():
            advice = "" if name == "arpa" else "; prepare_lang writes it"
            raise FileNotFoundError(f"{path}: missing{advice}")
    digests = {name: _digest(path) for name, path in paths.items()}
    return {"format": FORMAT, "kind": kind, "topology": topology, "sha256": digests}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _is_made(out: Path, sidecar: Path, inputs: Dict[str, Any]) -> bool:
    try:
        known = json.loads(sidecar.read_text(encoding="utf-8"))
        return bool(known["inputs"] == inputs and known["bytes"] == out.stat().st_size)
    except (OSError, ValueError, KeyError, TypeError):
        return False
