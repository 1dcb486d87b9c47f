"""G: an n-gram model as an acceptor over word ids, with its backoff arcs as epsilons."""

from __future__ import annotations

import gzip
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence

import numpy as np
import torch

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.compat import require_k2, torch_load
from espnet_plugin.lm.arpa import open_maybe_gzip

if TYPE_CHECKING:
    import k2

logger = logging.getLogger(__name__)

_BACKOFF, _START, _END = "#0", "<s>", "</s>"


def load_grammar(path: PathLike, words: Sequence[str]) -> k2.Fsa:
    """The grammar of an ARPA file, plain or gzip, or of a file of :func:`save_grammar`.

    Args:
        path: the ARPA or the saved grammar (a ``.pt`` file).
        words: the words of the decoding graph; ``words[i]`` has label i, ``words[0]`` is
            ``<eps>``. n-grams with other words are left out, and the log says how many.

    Returns:
        An arc-sorted acceptor. Labels are word ids, 0 on the arcs that back off; the score is
        also the attribute ``lm_scores`` (natural logarithm). States whose only arc backs off
        are not there: arcs towards them lead where they would back off to.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that is no ARPA, one without any of the words, or a grammar over
            other words.
        ImportError: k2 or kaldilm is not installed.
    """
    k2 = require_k2()
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such language model")
    if str(path).endswith(".pt"):
        return _load_saved(path, words)
    text = _arpa_to_text(path, words)
    try:
        fsa = k2.Fsa.from_openfst(text, acceptor=False)
    except ValueError as error:
        raise ValueError(f"{path}: no grammar comes of it: {error}") from None
    arcs = fsa.arcs.values().clone()
    arcs[arcs[:, 2] == len(words), 2] = 0
    fsa = k2.Fsa(_skip_backoff_only(arcs, fsa.shape[0]))
    fsa = k2.arc_sort(k2.connect(fsa))
    if not bool((fsa.labels > 0).any()):
        raise ValueError(f"{path}: it has no sentence in the words of the decoding graph")
    fsa.lm_scores = fsa.scores.clone()
    return fsa


def save_grammar(grammar: k2.Fsa, words: Sequence[str], path: PathLike) -> None:
    """Write a grammar and its words to one file, whole or not at all."""
    content = {"kind": "G", "arcs": grammar.arcs.values().cpu(), "words": list(words)}
    with atomic_open(path, "wb") as stream:
        torch.save(content, stream)


def _load_saved(path: PathLike, words: Sequence[str]) -> k2.Fsa:
    content = torch_load(path)
    if not isinstance(content, dict) or content.get("kind") != "G":
        raise ValueError(f"{path}: not a grammar; compile_graph --kind G writes one")
    if content["words"] != list(words):
        raise ValueError(
            f"{path}: a grammar over other words than those of the decoding graph: compile both "
            f"from one language directory, or give the ARPA file instead"
        )
    fsa = require_k2().Fsa(content["arcs"])
    fsa.lm_scores = fsa.scores.clone()
    return fsa


def _arpa_to_text(path: PathLike, words: Sequence[str]) -> str:
    if find_spec("kaldilm") is None:
        raise ImportError("kaldilm is not installed: pip install kaldilm")
    with tempfile.TemporaryDirectory(prefix="grammar-") as folder:
        table, said, out = (Path(folder) / name for name in ("words.txt", "said.txt", "G.txt"))
        symbols = [*words, _BACKOFF, _START, _END]
        table.write_text("".join(f"{w} {i}\n" for i, w in enumerate(symbols)), encoding="utf-8")
        arpa = _unpacked(Path(path), Path(folder) / "lm.arpa")
        # A process of its own, since kaldilm aborts the one it runs in on a bad file.
        command = [sys.executable, "-m", "kaldilm", "--max-arpa-warnings=-1"]
        command += [f"--read-symbol-table={table}", f"--disambig-symbol={_BACKOFF}", str(arpa)]
        with open(out, "wb") as stdout, open(said, "wb") as stderr:
            status = subprocess.run(command, stdout=stdout, stderr=stderr, check=False).returncode
        complaints = _complaints(path, said)
        if status != 0:
            reason = complaints[0] if complaints else f"kaldilm ended with status {status}"
            raise ValueError(f"{path}: not an ARPA file that kaldilm can read: {reason}")
        for complaint in complaints:
            logger.warning("%s: kaldilm: %s", path, complaint)
        return out.read_text(encoding="utf-8")


def _unpacked(path: Path, target: Path) -> Path:
    """``path``, or ``target`` with what it holds if it is gzip."""
    with open_maybe_gzip(path) as stream:
        if not isinstance(stream, gzip.GzipFile):
            return path
        try:
            with open(target, "wb") as plain:
                shutil.copyfileobj(stream, plain)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip file: {error}") from None
    return target


def _complaints(path: PathLike, said: Path) -> List[str]:
    """What kaldilm complained about; the n-grams that it left out are counted in the log."""
    left_out, complaints = 0, []
    with open(said, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if re.match(r"\[W\] line \d+ .* skipped: word .* not in symbol table", line):
                left_out += "word '<unk>'" not in line  # every closed decoding leaves it out
            elif line.startswith(("[W]", "[E]", "[F]")):
                complaints.append(line.strip())
    if left_out:
        logger.warning("%s: %d n-grams left out for words not in words.txt", path, left_out)
    return complaints


def _skip_backoff_only(arcs: torch.Tensor, num_states: int) -> torch.Tensor:
    """Arcs (A, 4) without the states that only back off; the states keep their numbers."""
    source, target, label = arcs[:, 0].numpy(), arcs[:, 1].numpy(), arcs[:, 2].numpy()
    score = arcs[:, 3].contiguous().view(torch.float32).numpy().astype(np.float64)
    degree = np.bincount(source, minlength=num_states)
    only = (label == 0) & (degree[source] == 1)
    next_state = np.arange(num_states)
    added = np.zeros(num_states)
    next_state[source[only]], added[source[only]] = target[only], score[only]
    while True:  # as often as the order of the model
        further = next_state[next_state] != next_state
        if not further.any():
            break
        added = np.where(further, added + added[next_state], added)
        next_state = np.where(further, next_state[next_state], next_state)
    only &= source != 0
    result = arcs.clone()
    result[:, 1] = torch.from_numpy(next_state[target].astype(np.int32))
    moved = torch.from_numpy((score + added[target]).astype(np.float32))
    result[:, 3] = moved.view(torch.int32)
    return result[torch.from_numpy(~only)]


def state_backoffs(grammar: k2.Fsa) -> List[torch.Tensor]:
    """Where each state of a grammar backs off to.

    Returns:
        (S) int64 states, −1 for none, and (S) float64 natural logarithms.

    Raises:
        ValueError: a state with several arcs that back off.
    """
    arcs = grammar.arcs.values().cpu()
    rows = torch.nonzero(arcs[:, 2] == 0)[:, 0]
    source = arcs[rows, 0].long()
    if len(torch.unique(source)) < len(source):
        raise ValueError("a state of the grammar has several epsilon arcs")
    target = torch.full((grammar.shape[0],), -1, dtype=torch.int64)
    target[source] = arcs[rows, 1].long()
    score = torch.zeros(grammar.shape[0], dtype=torch.float64)
    score[source] = grammar.scores.cpu()[rows].double()
    return [target, score]
