"""The model that plans are proposed for, and the speech to measure it with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Container, List, Optional, Tuple

from espnet_plugin.atomic import PathLike
from espnet_plugin.decode.data import model_rate
from espnet_plugin.stacks.asr import stack_of
from espnet_plugin.stacks.batches import DataError, Utterance, list_utterances
from espnet_plugin.stacks.experiment import Experiment, load_experiment
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.wav2vec2.stack import RATE, Wav2Vec2Stack
from espnet_plugin.surgery.plan import StackDescription


@dataclass
class Subject:
    """A model as a stack."""

    path: Path
    stack: Stack
    """In evaluation mode."""
    experiment: Optional[Experiment] = None
    """Where the stack is the encoder of an ASR model: the rest of it."""

    @property
    def description(self) -> StackDescription:
        """For the plans of this model."""
        return StackDescription(self.stack.family, len(self.stack.blocks), str(self.path))

    @property
    def rate(self) -> Optional[int]:
        """Samples per second that the stack takes, where that is known."""
        if self.experiment is not None:
            return model_rate(self.experiment.args)
        return RATE if isinstance(self.stack, Wav2Vec2Stack) else None


def open_subject(path: PathLike, device: str = "cpu") -> Subject:
    """Load a checkpoint or an experiment directory; see :func:`load_stack`.

    Raises:
        StackError, ExperimentError: one line that names the file.
    """
    path = Path(path)
    if (path / "config.yaml").is_file() and not (path / "config.json").is_file():
        experiment = load_experiment(path, device=device)
        return Subject(path, stack_of(experiment).to(device).eval(), experiment)
    return Subject(path, load_stack(path, device))


def utterances_of(
    subject: Subject, data_dir: PathLike, count: Optional[int] = None
) -> List[Utterance]:
    """``count`` utterances of a Kaldi directory, spread evenly over its order; None: all.

    Raises:
        DataError: recordings that the stack cannot take, or that cannot be read.
        ValueError: a stack that takes features.
    """
    if subject.stack.takes != "waveform":
        raise ValueError(f"{subject.path}: a stack that takes features cannot be given recordings")
    utterances = list_utterances(data_dir, subject.rate)
    rates = sorted({utterance.rate for utterance in utterances})
    if len(rates) > 1:
        raise DataError(f"{data_dir}: recordings of several rates: {rates}")
    return spread(utterances, count)


def split_utterances(
    subject: Subject, data_dir: PathLike, count: int, among: Optional[Container[str]] = None
) -> Tuple[List[Utterance], List[Utterance], float]:
    """``count`` utterances to choose by, as many others to check with, and the median length.

    Fewer of the others, or none, where the directory has no more; of those in ``among``, if given.

    Raises:
        DataError, ValueError: as :func:`utterances_of`.
    """
    everything = utterances_of(subject, data_dir)
    if among is not None:
        everything = [utterance for utterance in everything if utterance.utt_id in among]
    chosen = spread(everything, count)
    names = {utterance.utt_id for utterance in chosen}
    rest = [utterance for utterance in everything if utterance.utt_id not in names]
    lengths = median(utterance.seconds for utterance in everything)
    return chosen, spread(rest, count) if rest else [], lengths


def spread(utterances: List[Utterance], count: Optional[int]) -> List[Utterance]:
    """``count`` of them at even distances, or all where there are no more."""
    if count is None or count >= len(utterances):
        return list(utterances)
    if count < 1:
        raise ValueError(f"at least one utterance is needed, not {count}")
    return [utterances[place * len(utterances) // count] for place in range(count)]
