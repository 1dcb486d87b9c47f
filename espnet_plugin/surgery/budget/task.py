"""What a smaller model must still be able to do, where a plan is not judged by what it says.

Without a task, damage is how far the posteriors (or the last hidden states) are from the
original's; with one it is the predictive capacity that is lost
(:mod:`espnet_plugin.analysis.probes.capacity`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Sequence, Set

from espnet_plugin.analysis.probes.capacity import Capacity
from espnet_plugin.analysis.probes.readers import READ, reader_of, reading_capacity
from espnet_plugin.atomic import PathLike
from espnet_plugin.stacks.batches import Utterance, read_labels
from espnet_plugin.stacks.experiment import Experiment
from espnet_plugin.surgery.subject import Subject, utterances_of

logger = logging.getLogger(__name__)

RECOGNISED = {"greedy": "words of greedy decoding", "token": "tokens of greedy decoding"}
TASKS = (*RECOGNISED, *READ)


@dataclass(frozen=True)
class Task:
    """What edits are judged by."""

    name: str
    """What damage is a loss of, for people: its unit."""
    capacity: Callable[[Sequence[Utterance]], Capacity]
    """That on some speech."""
    identity: Any = None
    """What it depends on besides model and speech: probes, labels; JSON."""
    counted: Optional[Set[str]] = None
    """The utterances that count; None: all."""


def task_of(
    what: str,
    subject: Subject,
    data_dir: PathLike,
    analysis: Optional[PathLike] = None,
    alignments: Optional[PathLike] = None,
    batch_seconds: float = 60.0,
) -> Task:
    """A task by its name.

    Args:
        what: one of :data:`TASKS`: greedy (1 − WER of greedy decoding), token (of the model's
            tokens), or what a probe of ``analysis`` reads: phone, word, speaker.
        subject: the unedited model.
        data_dir: of the speech: transcripts, speakers.
        analysis, alignments: see :func:`espnet_plugin.analysis.probes.readers.reader_of`.
        batch_seconds: speech of a batch, for probes.

    Raises:
        AnalysisError, DataError: as ``reader_of``.
        ValueError: an unknown task, or one that the model or the data does not allow.
    """
    if what in RECOGNISED:
        if subject.experiment is None:
            raise ValueError(f"{subject.path}: recognises nothing; name an ESPnet experiment")
        texts = read_labels(data_dir, "text")
        capacity = _recognised(what, subject, subject.experiment, texts)
        return Task(f"share of {RECOGNISED[what]}", capacity, sorted(texts.items()))
    if what not in READ:
        raise ValueError(f"unknown capacity {what!r} (one of {', '.join(TASKS)})")
    if analysis is None:
        raise ValueError(f"the capacity {what} needs the directory of an analysis, --probes")
    from espnet_plugin.analysis.suite import subject as suite

    seen = suite.Subject(subject.path, subject.stack, subject.experiment)
    speech = utterances_of(subject, data_dir)
    given = (what, analysis, data_dir, speech, seen.clock, alignments, seen.fingerprint)
    reader = reader_of(*given)
    logger.info("%s: %d of %d utterances count", data_dir, len(reader.counted), len(speech))
    return Task(
        f"share of {READ[what]} whose {what} a probe reads",
        lambda utterances: reading_capacity(reader, utterances, batch_seconds),
        reader.identity(),
        reader.counted,
    )


def _recognised(
    what: str, subject: Subject, experiment: Experiment, texts: Mapping[str, str]
) -> Callable[[Sequence[Utterance]], Capacity]:
    from espnet_plugin.analysis.heads.recognition import Recognition
    from espnet_plugin.analysis.suite import subject as suite
    from espnet_plugin.decode.decoder import CtcDecoder
    from espnet_plugin.decode.text import token_text

    decoders = {"greedy": CtcDecoder(experiment.model, token_text(experiment), "greedy")}
    seen = suite.Subject(subject.path, subject.stack, experiment)
    return lambda utterances: Recognition(seen, utterances, texts, decoders).capacity(what)
