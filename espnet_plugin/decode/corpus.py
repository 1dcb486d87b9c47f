"""Decode a whole set of utterances into ESPnet's result files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch.utils.data import DataLoader

from espnet_plugin.atomic import PathLike, atomic_open, write_json
from espnet_plugin.decode.data import SpeechBatch, SpeechData
from espnet_plugin.decode.decoder import CtcDecoder, Hypothesis
from espnet_plugin.decode.journal import Journal
from espnet_plugin.decode.store import LatticeWriter
from espnet_plugin.progress import progress
from espnet_plugin.stacks.batches import DataError

logger = logging.getLogger(__name__)


def decode_corpus(
    decoder: CtcDecoder,
    source: Tuple[str, str, str],
    names: Sequence[str],
    output_dir: PathLike,
    lattice_dir: Optional[PathLike] = None,
    job: Any = None,
    num_workers: int = 0,
    **batching: Any,
) -> Dict[str, Any]:
    """Decode ``names`` and write ``<output_dir>/1best_recog/{text,token,token_int,score}``.

    Every name is in the output, in the order given; one that cannot be read has an empty
    hypothesis of score −inf and is listed at the end. A job that was stopped goes on where it
    was: what is done is in ``<output_dir>/.decoding.jsonl`` until the result files are written,
    each as a whole.

    Args:
        decoder: the model and its search.
        source: (path, "speech", type) as ESPnet's ``--data_path_and_name_and_type``.
        names: the utterances to decode.
        output_dir: where the results go; ``rtf.json`` too.
        lattice_dir: where the lattices go; not stored if None.
        job: what the results depend on besides ``source`` and ``names``.
        num_workers: processes that read ahead.
        batching: ``max_seconds``, ``max_size``, ``preprocess``, ``rate`` of
            :class:`espnet_plugin.decode.data.SpeechData`.

    Returns:
        The content of ``rtf.json``: times and real-time factors of encoder and search (reading
        and writing excluded), number of utterances, and those that failed with the reason.

    Raises:
        DataError: if a name is not in the source, or no utterance at all could be read.
        ValueError: if lattices are asked of a decoder whose method makes none.
    """
    if lattice_dir is not None and decoder.method == "greedy":
        raise ValueError(f"{lattice_dir}: the method greedy makes no lattices; leave it out")
    output_dir = Path(output_dir)
    lattices = LatticeWriter(lattice_dir) if lattice_dir is not None else None
    made = Path(source[0]).stat().st_mtime_ns if Path(source[0]).is_file() else None
    journal = Journal(
        output_dir / ".decoding.jsonl", [job, source, made, list(names), str(lattice_dir)]
    )
    done = {name for entry in journal.entries for name in entry["results"]}
    if done:
        logger.info("%s: %d of %d are done already", output_dir, len(done), len(names))
    rest = [name for name in names if name not in done]
    if rest:
        data = SpeechData(source, rest, **batching)
        loader = DataLoader(data, batch_size=None, num_workers=num_workers)
        for batch in progress(loader, f"decode {output_dir.name}", total=len(data)):
            journal.add(_decode_batch(decoder, batch, lattices))
    results: Dict[str, List[Any]] = {}
    for entry in journal.entries:
        results.update(entry["results"])
        if lattices is not None:
            places = {n: tuple(p) if p else None for n, p in entry["lattices"].items()}
            lattices.index.update(places)
    summary = _summary(decoder, journal.entries, len(names))
    if len(summary["failed"]) == len(names):
        name, reason = next(iter(summary["failed"].items()))
        journal.close()
        raise DataError(f"{source[0]}: no utterance could be read; {name}: {reason}")
    if lattices is not None:
        lattices.index = {name: lattices.index[name] for name in names}
        lattices.close()
    write_results(output_dir / "1best_recog", {n: Hypothesis(*results[n]) for n in names})
    write_json(output_dir / "rtf.json", summary)
    journal.close()
    for name, reason in summary["failed"].items():
        logger.error("%s: not read, its hypothesis is empty: %s", name, reason)
    return summary


def write_results(directory: PathLike, hypotheses: Dict[str, Hypothesis]) -> None:
    """Write ``text``, ``token``, ``token_int`` and ``score`` in the form of ESPnet's decoders."""
    directory = Path(directory)
    columns: Dict[str, List[Tuple[str, str]]] = {"token": [], "token_int": [], "score": []}
    for name, hypothesis in hypotheses.items():
        columns["token"].append((name, " ".join(hypothesis.tokens)))
        columns["token_int"].append((name, " ".join(map(str, hypothesis.token_ids))))
        columns["score"].append((name, str(hypothesis.score)))
        if hypothesis.text is not None:
            columns.setdefault("text", []).append((name, hypothesis.text))
    for file, lines in columns.items():
        with atomic_open(directory / file) as stream:
            stream.writelines(f"{name} {value}\n" for name, value in lines)


def _decode_batch(
    decoder: CtcDecoder, batch: SpeechBatch, writer: Optional[LatticeWriter]
) -> Dict[str, Any]:
    """Decode and store one batch; its entry in the journal."""
    empty: List[Any] = [decoder.text([])[0], [], [], float("-inf")]
    entry: Dict[str, Any] = {
        "results": {name: empty for name in batch.failed},
        "lattices": {name: None for name in batch.failed},
        "failed": batch.failed,
        "audio": batch.seconds,
        "encoder": 0.0,
        "search": 0.0,
    }
    if batch.names:
        decoded = decoder.decode(batch.arrays, batch.names)
        entry["encoder"], entry["search"] = decoded.encoder_seconds, decoded.search_seconds
        for name, h in zip(batch.names, decoded.hypotheses, strict=True):
            entry["results"][name] = [h.text, h.tokens, h.token_ids, h.score]
        if writer is not None and decoded.lattices is not None:
            entry["lattices"].update(writer.write(batch.names, decoded.lattices))
    return entry


def _summary(decoder: CtcDecoder, entries: List[Dict[str, Any]], count: int) -> Dict[str, Any]:
    known = all(entry["audio"] is not None for entry in entries)
    audio = sum(entry["audio"] for entry in entries) if known else None
    encoder, search = (sum(entry[k] for entry in entries) for k in ("encoder", "search"))

    def factor(seconds: float) -> Optional[float]:
        return round(seconds / audio, 6) if audio else None

    return {
        "utterances": count,
        "audio_seconds": audio,
        "encoder_seconds": round(encoder, 4),
        "search_seconds": round(search, 4),
        "encoder_rtf": factor(encoder),
        "search_rtf": factor(search),
        "rtf": factor(encoder + search),
        "method": decoder.method,
        "device": str(decoder.device),
        "threads": torch.get_num_threads(),
        "failed": {n: reason for entry in entries for n, reason in entry["failed"].items()},
    }
