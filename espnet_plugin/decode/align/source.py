"""The utterances to align: a Kaldi data directory or a lhotse cuts manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import soundfile

from espnet_plugin.atomic import PathLike
from espnet_plugin.data.kaldi import read_table
from espnet_plugin.stacks.batches import DataError, Utterance, read_wav_scp


@dataclass(frozen=True)
class Spoken:
    """One utterance to align.

    Attributes:
        utterance: its name and length.
        text: what was said.
        supervision: its lhotse ``SupervisionSegment``, in the recording's time.
        read: gives its samples, (S,) float32.
    """

    utterance: Utterance
    text: str
    supervision: Any
    read: Callable[[], np.ndarray]


def read_source(path: PathLike, rate: Optional[int] = None) -> Tuple[List[Spoken], Dict[str, str]]:
    """The utterances of a Kaldi directory (``wav.scp``, ``text``) or of a cuts manifest.

    Args:
        path: a directory, or a manifest of cuts; a cut with several supervisions is one
            utterance for each of them.
        rate: the sampling rate that the model expects, if known.

    Returns:
        The utterances, and those that cannot be used, with the reason.

    Raises:
        DataError: the directory or manifest itself cannot be read, or is empty.
    """
    path = Path(path)
    found, failed = _kaldi(path) if path.is_dir() else _cuts(path)
    kept = []
    for spoken in found:
        name, speed = spoken.utterance.utt_id, spoken.utterance.rate
        if rate is not None and speed != rate:
            failed[name] = f"it has {speed} samples/s, but the model was trained on {rate}"
        else:
            kept.append(spoken)
    return kept, failed


def _kaldi(directory: Path) -> Tuple[List[Spoken], Dict[str, str]]:
    from lhotse import SupervisionSegment

    paths = read_wav_scp(directory)
    file = directory / "text"
    texts = read_table(file)
    found, failed = [], {}
    for name, path in paths.items():
        if name not in texts:
            failed[name] = f"no line in {file}"
            continue
        try:
            info = soundfile.info(str(path))
        except (soundfile.LibsndfileError, OSError) as error:
            failed[name] = f"cannot read {path}: {' '.join(str(error).split())}"
            continue
        utterance = Utterance(name, path, info.frames, info.samplerate)
        supervision = SupervisionSegment(name, name, 0.0, utterance.seconds, text=texts[name])
        found.append(Spoken(utterance, texts[name], supervision, _file_reader(path)))
    return found, failed


def _file_reader(path: Path) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        samples, _ = soundfile.read(str(path), dtype="float32")
        if samples.ndim > 1:
            raise DataError(f"{path} has {samples.shape[1]} channels, not one")
        return samples

    return read


def _cuts(path: Path) -> Tuple[List[Spoken], Dict[str, str]]:
    from lhotse import load_manifest

    if not path.is_file():
        raise DataError(f"{path}: neither a Kaldi directory nor a manifest of cuts")
    try:
        cuts = load_manifest(path)
        whole = [one for cut in cuts for one in cut.trim_to_supervisions(keep_overlapping=False)]
    except Exception as error:  # lhotse raises whatever the file provokes
        raise DataError(f"{path}: no manifest of cuts: {' '.join(str(error).split())}") from None
    found = []
    for cut in whole:
        (supervision,) = cut.supervisions
        utterance = Utterance(supervision.id, path, cut.num_samples, cut.sampling_rate)
        moved = supervision.with_offset(cut.start)
        found.append(Spoken(utterance, supervision.text or "", moved, _cut_reader(cut)))
    if not found:
        raise DataError(f"{path}: no cut has a supervision")
    return found, {}


def _cut_reader(cut: Any) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        samples = cut.load_audio().astype(np.float32)
        if len(samples) > 1:
            raise DataError(f"it has {len(samples)} channels, not one")
        return samples[0]

    return read
