"""lhotse cuts as utterances."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from espnet_plugin.atomic import PathLike
from espnet_plugin.stacks.batches import DataError, Utterance


def list_cuts(path: PathLike, rate: Optional[int] = None) -> List[Utterance]:
    """Cuts of one channel out of audio files, under their ids, in order.

    Args:
        path: cuts.jsonl or cuts.jsonl.gz. Relative names of recordings are taken from the current
            directory, as lhotse does.
        rate: the samples per second that every recording must have, if given.

    Raises:
        DataError: a file without cuts; an id twice; a cut that is mixed, changed (speed, volume,
            …), of several channels, of no file, or of another rate: one line that names it.
    """
    found: Dict[str, Utterance] = {}
    for cut in _cuts(path):
        if cut.id in found:
            raise DataError(f"{path}: {cut.id} is there twice")
        found[cut.id] = _utterance(cut, path)
        if rate is not None and found[cut.id].rate != rate:
            raise DataError(f"{path}: {cut.id} has {found[cut.id].rate} samples/s, not {rate}")
    return list(found.values())


def label_cuts(path: PathLike, what: str) -> Dict[str, str]:
    """The ``text`` or ``speaker`` of the supervision of each cut.

    Raises:
        DataError: a cut without exactly one supervision that has it.
    """
    labels = {}
    for cut in _cuts(path):
        values = [getattr(supervision, what) for supervision in cut.supervisions]
        if len(values) != 1 or values[0] is None:
            raise DataError(f"{path}: {cut.id} has no supervision, or several, with a {what}")
        labels[cut.id] = str(values[0])
    return labels


def _cuts(path: PathLike) -> Iterator[Any]:
    from lhotse import CutSet, Recording, SupervisionSegment
    from lhotse.cut import MonoCut

    count = 0
    try:
        for cut in CutSet.from_file(Path(path)):
            if isinstance(cut, (Recording, SupervisionSegment)):
                held = type(cut).__name__
                raise DataError(f"{path}: holds {held}s, not cuts; name a file of lhotse cuts")
            if not isinstance(cut, MonoCut):
                raise DataError(
                    f"{path}: {cut.id} is a {type(cut).__name__}, not a cut of one file"
                )
            count += 1
            yield cut
    except DataError:
        raise
    except Exception as error:  # lhotse guesses the kind of file; what it raises is of many kinds
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a file of lhotse cuts: {said[:200]}") from None
    if not count:
        raise DataError(f"{path}: no cuts in it")


def _utterance(cut: Any, path: PathLike) -> Utterance:
    recording = cut.recording
    if recording is None:
        raise DataError(f"{path}: {cut.id} has no recording")
    if recording.transforms:
        raise DataError(
            f"{path}: {cut.id} is changed ({recording.transforms}); name unchanged cuts"
        )
    if len(recording.sources) != 1 or recording.sources[0].type != "file":
        raise DataError(f"{path}: {cut.id} is not of one audio file")
    if recording.num_channels != 1:
        raise DataError(f"{path}: {cut.id} has {recording.num_channels} channels, not one")
    whole = cut.start == 0 and cut.num_samples == recording.num_samples
    return Utterance(
        cut.id,
        Path(recording.sources[0].source),
        cut.num_samples,
        cut.sampling_rate,
        None if whole else round(cut.start * cut.sampling_rate),
    )
