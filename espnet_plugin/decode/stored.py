"""Hypotheses of stored lattices: another method or language model, without encoder and search."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from espnet_plugin.atomic import PathLike
from espnet_plugin.decode.journal import Journal
from espnet_plugin.decode.methods import Rescorer
from espnet_plugin.decode.results import JOURNAL, finish
from espnet_plugin.decode.scales import Scales, set_scores
from espnet_plugin.decode.store import LatticeStore
from espnet_plugin.decode.text import TokenText
from espnet_plugin.progress import progress


def store_text(
    store: LatticeStore, token_type: Optional[str] = None, bpemodel: Optional[str] = None
) -> TokenText:
    """What makes text of a store's tokens; lattices over words need neither argument.

    Raises:
        ValueError: if the store does not say what its labels mean.
    """
    if "tokens" not in store.meta:
        raise ValueError(f"{store.directory}/meta.json: it does not say what labels mean")
    return TokenText(store.meta["tokens"], token_type, bpemodel)


def rescore_store(
    store: LatticeStore,
    rescorer: Rescorer,
    output_dir: PathLike,
    names: Optional[Sequence[str]] = None,
    references: Optional[Mapping[str, str]] = None,
    job: Any = None,
    part: bool = False,
) -> Dict[str, Any]:
    """Write the result files of :func:`espnet_plugin.decode.corpus.decode_corpus` from a store.

    Args:
        store: the lattices.
        rescorer: the method. Lattices are given its ``scales`` first.
        output_dir: where the results go; a stopped job goes on there.
        names: the utterances, in this order; all of the store if None. One that the store does
            not have, or without a lattice, has an empty hypothesis and is among the failures.
        references: transcripts by utterance, for ``nbest_oracle``.
        job: what the results depend on besides.
        part: leave the journal to :mod:`espnet_plugin.decode.jobs`, which writes the files.

    Returns:
        The content of ``rtf.json``; the time of the encoder is 0. Of a ``part`` nothing.
    """
    names = store.utterances if names is None else list(names)
    path = Path(output_dir) / JOURNAL
    stamp = [(str(f), f.stat().st_mtime_ns) for f in sorted(store.directory.glob("*.json"))]
    journal = Journal(path, [job, stamp, list(names), rescorer.method, asdict(rescorer.scales)])
    done = {name for entry in journal.entries for name in entry["results"]}
    rest = [name for name in names if name not in done]
    lost = {
        name: "its search found no path" if name in store.places else "not among the lattices"
        for name in rest
        if store.places.get(name) is None
    }
    if lost:
        empty: List[Any] = ["" if rescorer.words is not None else rescorer.text([])[0], [], []]
        empty += [float("-inf"), None, {}]
        journal.add(_entry({name: empty for name in lost}, lost))
    for some, lattice in progress(store.batches(rest), f"rescore {store.directory.name}"):
        lattice = lattice.to(rescorer.device)
        start = time.perf_counter()
        chosen = [references[name] for name in some] if references is not None else None
        best = rescorer(set_scores(lattice, rescorer.scales), some, chosen)
        entry = _entry(
            {
                name: [h.text, h.tokens, h.token_ids, h.score, h.words, h.scores]
                for name, h in zip(some, best, strict=True)
            },
            {},
        )
        entry["rescoring"] = time.perf_counter() - start
        entry["audio"] = _seconds(lattice, store.meta.get("seconds_per_frame"))
        journal.add(entry)
    if part:
        return {}
    device = str(rescorer.device)
    summary = finish(journal.entries, names, output_dir, None, rescorer.method, device)
    journal.close()
    return summary


def store_scales(store: LatticeStore) -> Scales:
    """The scales with which the lattices were made."""
    return Scales(**store.meta.get("scales", {}))


def _entry(results: Dict[str, Any], failed: Dict[str, str]) -> Dict[str, Any]:
    times = {"audio": 0.0, "encoder": 0.0, "search": 0.0, "rescoring": 0.0}
    return {"results": results, "failed": failed, "unread": {}, **times}


def _seconds(lattice: Any, seconds_per_frame: Optional[float]) -> Optional[float]:
    """Speech in lattices: every one has an arc of its last frame."""
    if seconds_per_frame is None:
        return None
    shape = lattice.arcs.shape()
    rows = shape.row_ids(1).long()[shape.row_ids(2).long()]
    frames = np.zeros(lattice.shape[0], dtype=np.int64)
    np.maximum.at(frames, rows.cpu().numpy(), lattice.frame.cpu().numpy() + 1)
    return float(frames.sum()) * seconds_per_frame
