"""Decode a whole set of utterances into ESPnet's result files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from torch.utils.data import DataLoader

from espnet_plugin.atomic import PathLike
from espnet_plugin.decode.data import SpeechBatch, SpeechData
from espnet_plugin.decode.decoder import CtcDecoder
from espnet_plugin.decode.journal import Journal
from espnet_plugin.decode.limits import lack_of_memory
from espnet_plugin.decode.pieces import Piece, Pieces, hopeless
from espnet_plugin.decode.results import JOURNAL, PARTS, finish
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
    references: Optional[Mapping[str, str]] = None,
    part: bool = False,
    **batching: Any,
) -> Dict[str, Any]:
    """Decode ``names`` and write ``<output_dir>/1best_recog/{text,token,token_int,score}``.

    Every name is in the output, in the order given; one that cannot be read or decoded has an
    empty hypothesis of score −inf and is listed at the end. A job that was stopped goes on
    where it was: what is done is in ``<output_dir>/.decoding.jsonl`` until the result files are
    written, each as a whole. A batch that finds too little memory, also one at which an earlier
    process of this job was killed, is decoded in halves, a single utterance with narrower beams.

    Args:
        decoder: the model and its search.
        source: (path, "speech", type) as ESPnet's ``--data_path_and_name_and_type``.
        names: the utterances to decode.
        output_dir: where the results go; ``rtf.json`` too.
        lattice_dir: where the lattices go; not stored if None.
        job: what the results depend on besides ``source`` and ``names``.
        num_workers: processes that read ahead.
        references: transcripts by utterance, for ``nbest_oracle``.
        part: leave the journal to :mod:`espnet_plugin.decode.jobs`, which writes the files.
        batching: ``max_seconds``, ``max_size``, ``preprocess``, ``rate`` of
            :class:`espnet_plugin.decode.data.SpeechData`.

    Returns:
        The content of ``rtf.json``: times and real-time factors of encoder, search and
        rescoring (reading and writing excluded), number of utterances, and those that failed
        with the reason; of a ``part`` nothing.

    Raises:
        DataError: if a name is not in the source, or no utterance at all could be read.
        ValueError: if lattices are asked of a decoder whose method makes none.
    """
    if lattice_dir is not None and decoder.method == "greedy":
        raise ValueError(f"{lattice_dir}: the method greedy makes no lattices; leave it out")
    output_dir = Path(output_dir)
    lattices = None
    if lattice_dir is not None:
        lattices = LatticeWriter(lattice_dir, decoder.meta(batching.get("rate")))
    made = Path(source[0]).stat().st_mtime_ns if Path(source[0]).is_file() else None
    journal = Journal(
        output_dir / JOURNAL, [job, source, made, list(names), str(lattice_dir), references]
    )
    worker = _Worker(decoder, journal, lattices, references)
    done = {name for entry in journal.entries for name in entry.get("results", ())}
    if done:
        logger.info("%s: %d of %d are done already", output_dir, len(done), len(names))
    rest = [name for name in names if name not in done | worker.pieces.names]
    if rest:
        data = SpeechData(source, rest, **batching)
        loader = DataLoader(data, batch_size=None, num_workers=num_workers)
        for batch in progress(loader, f"decode {output_dir.name}", total=len(data)):
            worker.decode(batch)
    while worker.pieces.waiting:
        piece = worker.pieces.waiting[0]
        worker.decode(SpeechData(source, piece.names, **batching).read(piece.names), piece.narrowed)
    if part:
        return {}
    try:
        device = str(decoder.device)
        summary = finish(journal.entries, names, output_dir, lattices, decoder.method, device)
    except DataError as error:
        journal.close()
        raise DataError(f"{source[0]}: {error}") from None
    journal.close()
    return summary


class _Worker:
    """Decodes batches into the journal."""

    def __init__(
        self,
        decoder: CtcDecoder,
        journal: Journal,
        writer: Optional[LatticeWriter],
        references: Optional[Mapping[str, str]],
    ) -> None:
        self.decoder, self.journal, self.writer = decoder, journal, writer
        self.references = references
        self.pieces = Pieces(journal.entries)

    def decode(self, batch: SpeechBatch, narrowed: int = 0) -> None:
        """Decode and store one batch; its entry goes to the journal."""
        empty: List[Any] = [self.decoder.text([])[0], [], [], float("-inf"), None, {}]
        entry: Dict[str, Any] = {
            "results": {name: empty for name in batch.failed},
            "lattices": {name: None for name in batch.failed},
            "failed": dict(batch.failed),
            "unread": batch.failed,
            "audio": batch.seconds,
            **dict.fromkeys(PARTS, 0.0),
        }
        piece = Piece(tuple(batch.names), narrowed)
        if batch.names and hopeless(piece):
            reason = "too little memory, even with the narrowest beams"
            entry["results"][batch.names[0]] = empty
            entry["lattices"][batch.names[0]] = None
            entry["failed"][batch.names[0]] = reason
        elif batch.names:
            self.journal.begin(batch.names, narrowed)
            try:
                self._decode(batch, narrowed, entry)
            except (RuntimeError, MemoryError) as error:
                if not lack_of_memory(error):
                    raise
                cause = "too little memory"
                self.journal.add({"died": batch.names, "narrowed": narrowed, "cause": cause})
                self.pieces.died(piece, cause)
                return
        self.journal.add(entry)
        self.pieces.done(entry["results"])

    def _decode(self, batch: SpeechBatch, narrowed: int, entry: Dict[str, Any]) -> None:
        references = None
        if self.references is not None:
            references = [self.references[name] for name in batch.names]
        decoded = self.decoder.decode(batch.arrays, batch.names, references, narrowed)
        for part in PARTS:
            entry[part] = getattr(decoded, f"{part}_seconds")
        for name, h in zip(batch.names, decoded.hypotheses, strict=True):
            entry["results"][name] = [h.text, h.tokens, h.token_ids, h.score, h.words, h.scores]
        if decoded.lattices is not None:
            for i, reason in decoded.lattices.failed.items():
                entry["failed"][batch.names[i]] = reason
            if self.writer is not None:
                entry["lattices"].update(self.writer.write(batch.names, decoded.lattices))
