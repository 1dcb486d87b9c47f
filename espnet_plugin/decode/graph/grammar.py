"""G: an n-gram model as an acceptor over word ids, with its backoff arcs as epsilons."""

from __future__ import annotations

import gzip
import logging
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List, Sequence

import numpy as np
import torch

from espnet_plugin.atomic import PathLike, atomic_path
from espnet_plugin.compat import require_k2, torch_load

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
        ValueError: a file that is no ARPA, or a grammar over other words.
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
    fsa.lm_scores = fsa.scores.clone()
    return fsa


def save_grammar(grammar: k2.Fsa, words: Sequence[str], path: PathLike) -> None:
    """Write a grammar and its words to one file, whole or not at all."""
    content = {"kind": "G", "arcs": grammar.arcs.values().cpu(), "words": list(words)}
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


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
    try:
        import kaldilm
    except ImportError:
        raise ImportError("kaldilm is not installed: pip install kaldilm") from None
    with tempfile.TemporaryDirectory(prefix="grammar-") as folder:
        table, said = Path(folder) / "words.txt", Path(folder) / "said.txt"
        symbols = [*words, _BACKOFF, _START, _END]
        table.write_text("".join(f"{w} {i}\n" for i, w in enumerate(symbols)), encoding="utf-8")
        arpa = str(path)
        if arpa.endswith(".gz"):
            arpa = str(Path(folder) / "lm.arpa")
            with gzip.open(path, "rb") as packed, open(arpa, "wb") as plain:
                shutil.copyfileobj(packed, plain)
        try:
            with _standard_error_to(said):
                text = kaldilm.arpa2fst(
                    input_arpa=arpa,
                    disambig_symbol=_BACKOFF,
                    read_symbol_table=str(table),
                    max_arpa_warnings=-1,
                )
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: kaldilm cannot read it as an ARPA file: {reason}") from None
        _report(path, said)
    return text


def _report(path: PathLike, said: Path) -> None:
    left_out = 0
    with open(said, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if re.match(r"\[W\] line \d+ .* skipped: word .* not in symbol table", line):
                left_out += 1
            elif line.startswith(("[W]", "[E]", "[F]")):
                logger.warning("%s: kaldilm: %s", path, line.strip())
    if left_out:
        logger.warning("%s: %d n-grams left out for words not in words.txt", path, left_out)


@contextmanager
def _standard_error_to(path: Path) -> Iterator[None]:
    """What C++ code writes to standard error goes to a file."""
    kept = os.dup(2)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.dup2(target, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(target)


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
