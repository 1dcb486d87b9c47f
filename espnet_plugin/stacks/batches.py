"""Batches of speech from a Kaldi directory or lhotse cuts, for analysis, decoding, benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np
import soundfile
import torch

from espnet_plugin.atomic import PathLike


class DataError(ValueError):
    """A data set or a recording that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Utterance:
    """One recording of a Kaldi directory, or one cut."""

    utt_id: str
    path: Path
    samples: int
    rate: int
    """Samples per second."""
    start: Optional[int] = None
    """Of a cut: where it begins in the file; None: the file is the utterance."""

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    def read(self) -> np.ndarray:
        """The samples, float32 in [-1, 1].

        Raises:
            DataError: a recording that breaks off or cannot be decoded.
        """
        window = {} if self.start is None else {"start": self.start, "frames": self.samples}
        try:
            samples, _ = soundfile.read(str(self.path), dtype="float32", **window)
        except (soundfile.LibsndfileError, OSError) as e:
            raise DataError(f"{self.utt_id}: cannot read {self.path}: {e}") from None
        if len(samples) != self.samples:
            raise DataError(
                f"{self.utt_id}: {self.path} breaks off: {len(samples)} of {self.samples} samples"
            )
        return samples


Batch = Tuple[List[str], torch.Tensor, torch.Tensor]


def read_wav_scp(data_dir: PathLike) -> Dict[str, Path]:
    """Utterance id -> audio file, in the order of ``data_dir``/wav.scp.

    Relative paths are taken from the current directory, as ESPnet and Kaldi do, and from
    ``data_dir`` where that fails.

    Raises:
        DataError: a line without a path, a command in place of a file, an id twice, an empty
            or missing wav.scp, or a directory with ``segments`` (cut recordings).
    """
    data_dir = Path(data_dir)
    scp = data_dir / "wav.scp"
    if not scp.is_file():
        raise DataError(f"{scp}: not there; name a Kaldi directory with a wav.scp")
    if (data_dir / "segments").exists():
        raise DataError(f"{data_dir / 'segments'}: cut recordings are not read")
    paths: Dict[str, Path] = {}
    for number, line in enumerate(scp.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split(maxsplit=1)
        if not parts:
            continue
        if len(parts) < 2:
            raise DataError(f"{scp}:{number}: no path after {parts[0]!r}")
        utt_id, name = parts[0], parts[1].strip()
        if name.endswith("|"):
            raise DataError(f"{scp}:{number}: {utt_id} is a command; write the audio to a file")
        if utt_id in paths:
            raise DataError(f"{scp}:{number}: {utt_id} is there twice")
        path = Path(name)
        if not path.is_absolute() and not path.exists():
            path = data_dir / name
        paths[utt_id] = path
    if not paths:
        raise DataError(
            f"{scp}: empty; write a line for each recording: its utterance id and its audio file"
        )
    return paths


def list_utterances(data_dir: PathLike, rate: Optional[int] = None) -> List[Utterance]:
    """The utterances of a data set with their lengths.

    Args:
        data_dir: Kaldi directory with wav.scp, whose files' headers are read; or a file of lhotse
            cuts (see :func:`espnet_plugin.stacks.cuts.list_cuts`).
        rate: the samples per second that every recording must have, if given.

    Raises:
        DataError: as :func:`read_wav_scp`; a file that is no audio, is empty, has more than one
            channel or another rate; cuts that cannot be used.
    """
    if Path(data_dir).is_file():
        from espnet_plugin.stacks.cuts import list_cuts

        return list_cuts(data_dir, rate)
    utterances = []
    for utt_id, path in read_wav_scp(data_dir).items():
        try:
            info = soundfile.info(str(path))
        except (soundfile.LibsndfileError, OSError) as e:
            raise DataError(f"{utt_id}: cannot read {path}: {e}") from None
        if info.channels != 1:
            raise DataError(f"{utt_id}: {path} has {info.channels} channels, not one")
        if info.frames < 1:
            raise DataError(f"{utt_id}: {path} is empty")
        if rate is not None and info.samplerate != rate:
            raise DataError(f"{utt_id}: {path} has {info.samplerate} samples/s, not {rate}")
        utterances.append(Utterance(utt_id, path, info.frames, info.samplerate))
    return utterances


def read_labels(data_dir: PathLike, what: str) -> Dict[str, str]:
    """The transcripts or speakers of a data set, by utterance.

    Args:
        data_dir: as for :func:`list_utterances`.
        what: "text" (``text`` of a Kaldi directory, or the supervisions of cuts) or "speaker"
            (``utt2spk``).

    Raises:
        DataError: there are none.
    """
    if Path(data_dir).is_file():
        from espnet_plugin.stacks.cuts import label_cuts

        return label_cuts(data_dir, what)
    from espnet_plugin.data.kaldi import read_table

    return read_table(Path(data_dir) / {"text": "text", "speaker": "utt2spk"}[what])


def plan_batches(
    utterances: List[Utterance], max_seconds: float, max_size: Optional[int] = None
) -> List[List[Utterance]]:
    """Group utterances of like length, longest first, so that little is padded.

    Args:
        max_seconds: most seconds of a batch, padding included (size × longest). An utterance
            longer than that makes a batch by itself.
        max_size: most utterances of a batch.

    The result depends on nothing but the arguments: equal lengths are ordered by id.
    """
    if max_seconds <= 0 or (max_size is not None and max_size < 1):
        raise ValueError(f"no batches of {max_seconds} s and {max_size} utterances")
    batches: List[List[Utterance]] = []
    for utterance in sorted(utterances, key=lambda u: (-u.seconds, u.utt_id)):
        batch = batches[-1] if batches else []
        longest = batch[0].seconds if batch else 0.0
        full = max_size is not None and len(batch) >= max_size
        if not batch or full or longest * (len(batch) + 1) > max_seconds:
            batches.append([utterance])
        else:
            batch.append(utterance)
    return batches


def read_batch(batch: List[Utterance]) -> Batch:
    """Read one batch.

    Returns:
        utterance ids; speech (B, N), float32 in [-1, 1], zero after each end; lengths (B,),
        int64, in samples.

    Raises:
        DataError: a recording that breaks off or cannot be decoded.
    """
    speech = torch.zeros(len(batch), max(u.samples for u in batch))
    for row, utterance in zip(speech, batch, strict=True):
        row[: utterance.samples] = torch.from_numpy(utterance.read())
    lengths = torch.tensor([u.samples for u in batch], dtype=torch.int64)
    return [u.utt_id for u in batch], speech, lengths


def iter_batches(
    data_dir: PathLike,
    max_seconds: float,
    max_size: Optional[int] = None,
    rate: Optional[int] = None,
) -> Iterator[Batch]:
    """Batches of a Kaldi directory, longest utterances first; see the functions above.

    Yields:
        utterance ids; speech (B, N) float32; lengths (B,) int64 in samples.
    """
    for batch in plan_batches(list_utterances(data_dir, rate), max_seconds, max_size):
        yield read_batch(batch)
