"""Align a whole corpus into lhotse supervisions and CTM files."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from espnet_plugin.atomic import PathLike, atomic_open, atomic_path
from espnet_plugin.decode.align.aligner import Aligned, CtcAligner, Item
from espnet_plugin.decode.align.source import Spoken
from espnet_plugin.decode.align.timing import Timing
from espnet_plugin.decode.journal import Journal
from espnet_plugin.decode.lattices.ctm import write_ctm
from espnet_plugin.progress import progress
from espnet_plugin.stacks.batches import plan_batches

logger = logging.getLogger(__name__)

Items = Dict[str, Dict[str, List[Item]]]
"""Utterance -> level -> items."""


def align_corpus(
    aligner: CtcAligner,
    spoken: Sequence[Spoken],
    output_dir: PathLike,
    max_seconds: float = 120.0,
    max_size: Optional[int] = None,
    job: Any = None,
) -> tuple[Dict[str, Aligned], Dict[str, str]]:
    """The frames of every utterance's tokens.

    A run that was stopped goes on where it was: what is done is in
    ``<output_dir>/.alignment.jsonl``, which :func:`write_alignments` removes.

    Args:
        aligner: the model and its units.
        spoken: what to align.
        output_dir: where the results will go.
        max_seconds: most seconds of a batch, padding included.
        max_size: most utterances of a batch.
        job: what the result depends on besides.

    Returns:
        The alignments, and the utterances that have none with the reason.
    """
    by_name = {one.utterance.utt_id: one for one in spoken}
    texts = [[name, one.text, one.utterance.samples] for name, one in by_name.items()]
    journal = _journal(output_dir, [job, texts])
    done = {name for entry in journal.entries for name in entry}
    if done:
        logger.info("%s: %d of %d are done already", output_dir, len(done), len(by_name))
    rest = [one.utterance for name, one in by_name.items() if name not in done]
    batches = plan_batches(rest, max_seconds, max_size) if rest else []
    for batch in progress(batches, f"align {Path(output_dir).name}"):
        journal.add(_align_batch(aligner, [by_name[utterance.utt_id] for utterance in batch]))
    aligned, failed = {}, {}
    results = {name: value for entry in journal.entries for name, value in entry.items()}
    for name in by_name:
        value = results[name]
        if isinstance(value, str):
            failed[name] = value
        else:
            aligned[name] = Aligned(**value)
    return aligned, failed


def _journal(output_dir: PathLike, job: Any) -> Journal:
    return Journal(Path(output_dir) / ".alignment.jsonl", job)


def _align_batch(aligner: CtcAligner, batch: Sequence[Spoken]) -> Dict[str, Any]:
    entry: Dict[str, Any] = {}
    arrays: List[np.ndarray] = []
    read: List[Spoken] = []
    for one in batch:
        name = one.utterance.utt_id
        try:
            samples = one.read()
        except Exception as error:  # of any reader's kind: one bad file must not end the job
            entry[name] = " ".join(f"cannot be read: {type(error).__name__}: {error}".split())
            continue
        if len(samples) == 0:
            entry[name] = "it has no samples"
            continue
        arrays.append(samples)
        read.append(one)
    if read:
        results = aligner(arrays, [one.text for one in read])
        for one, result in zip(read, results, strict=True):
            value = asdict(result) if isinstance(result, Aligned) else str(result)
            entry[one.utterance.utt_id] = value
    return entry


def timed(
    aligned: Mapping[str, Aligned],
    spoken: Sequence[Spoken],
    timing: Timing,
    frame_seconds: float,
    level: str,
) -> Items:
    """Every alignment's items, in the order of ``spoken``; times from the utterance's start."""
    return {
        one.utterance.utt_id: aligned[one.utterance.utt_id].items(
            timing, frame_seconds, one.utterance.seconds, level
        )
        for one in spoken
        if one.utterance.utt_id in aligned
    }


def write_alignments(
    output_dir: PathLike, spoken: Sequence[Spoken], items: Items, failed: Mapping[str, str]
) -> None:
    """Write ``supervisions.jsonl.gz``, ``<level>.ctm`` and ``failed.tsv``, each as a whole.

    The supervisions are lhotse's, all of them, in the recordings' time; those of utterances
    without an alignment have none.
    """
    from lhotse import SupervisionSet
    from lhotse.supervision import AlignmentItem

    output_dir = Path(output_dir)
    segments = []
    for one in spoken:
        own = items.get(one.utterance.utt_id)
        offset = one.supervision.start
        alignment = own and {
            level: [
                AlignmentItem(symbol, round(start + offset, 4), duration, score)
                for symbol, start, duration, score in units
            ]
            for level, units in own.items()
        }
        segments.append(replace(one.supervision, alignment=alignment))
    with atomic_path(output_dir / "supervisions.jsonl.gz") as temporary:
        SupervisionSet.from_segments(segments).to_file(temporary)
    levels = {level for own in items.values() for level in own}
    for level in sorted(levels):
        write_ctm(output_dir / f"{level}.ctm", {name: own[level] for name, own in items.items()})
    with atomic_open(output_dir / "failed.tsv") as stream:
        stream.writelines(f"{name}\t{reason}\n" for name, reason in failed.items())
    (output_dir / ".alignment.jsonl").unlink(missing_ok=True)
