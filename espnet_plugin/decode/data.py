"""Speech to decode: ESPnet's readers, grouped into batches of like length."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import humanfriendly
import numpy as np
import soundfile
from espnet2.train.dataset import ESPnetDataset
from torch.utils.data import Dataset

from espnet_plugin.data.kaldi import read_ids, read_table
from espnet_plugin.encoders.stack_conf import stack_rate
from espnet_plugin.stacks.batches import DataError, Utterance, plan_batches
from espnet_plugin.task import ASRTask


@dataclass(frozen=True)
class SpeechBatch:
    """What could be read of one batch.

    Attributes:
        names: utterances in ``arrays``.
        arrays: (S,) samples or (L, D) features each.
        seconds: of speech in ``arrays``; None where no sampling rate is known.
        failed: utterances that could not be read, with the reason.
    """

    names: List[str]
    arrays: List[np.ndarray]
    seconds: Optional[float]
    failed: Dict[str, str]


class SpeechData(Dataset):
    """Batches of ``names``, read by ESPnet's own readers.

    Args:
        source: (path, "speech", type) as ESPnet's ``--data_path_and_name_and_type``.
        names: the utterances to read; all of them must be in ``path``.
        max_seconds: most seconds of a batch, padding included.
        max_size: most utterances of a batch.
        preprocess: ESPnet's preprocessor of the model, if it has one.
        rate: the sampling rate that the model expects, if known.

    Utterances whose length no file header tells (features, commands) make batches of
    ``max_size`` in their order, one by one if that is None.

    Raises:
        DataError: if a name is missing or a recording has another sampling rate.
    """

    def __init__(
        self,
        source: Tuple[str, str, str],
        names: Sequence[str],
        max_seconds: float,
        max_size: Optional[int] = None,
        preprocess: Any = None,
        rate: Optional[int] = None,
    ) -> None:
        path, _, kind = source
        known = set(read_ids(path))
        missing = [name for name in names if name not in known]
        if missing:
            raise DataError(f"{path}: no {missing[0]} ({len(missing)} of {len(names)} missing)")
        self.reader = ESPnetDataset([source], preprocess=preprocess, float_dtype="float32")
        self.rate = rate
        self.utterances = _headers(path, names) if kind == "sound" else {}
        for utterance in self.utterances.values():
            if rate is not None and utterance.rate != rate:
                raise DataError(
                    f"{utterance.utt_id}: {utterance.path} has {utterance.rate} samples/s, "
                    f"but the model was trained on {rate}"
                )
        planned = plan_batches(list(self.utterances.values()), max_seconds, max_size)
        rest = [name for name in names if name not in self.utterances]
        size = max_size or 1
        self.batches = [[utterance.utt_id for utterance in batch] for batch in planned]
        self.batches += [rest[i : i + size] for i in range(0, len(rest), size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> SpeechBatch:
        return self.read(self.batches[index])

    def read(self, utterances: Sequence[str]) -> SpeechBatch:
        """These utterances as one batch, whatever their length."""
        names, arrays, failed = [], [], {}
        seconds: Optional[float] = 0.0
        for name in utterances:
            try:
                array = self.reader[name][1]["speech"]
            except Exception as error:  # of any reader's kind: one bad file must not end the job
                failed[name] = " ".join(f"{type(error).__name__}: {error}".split())
                continue
            names.append(name)
            arrays.append(array)
            rate = self.utterances[name].rate if name in self.utterances else self.rate
            if rate is None or array.ndim > 1:
                seconds = None
            elif seconds is not None:
                seconds += len(array) / rate
        return SpeechBatch(names, arrays, seconds, failed)


def model_preprocess(args: argparse.Namespace) -> Any:
    """ESPnet's preprocessor for inference of a training configuration; None if it has none."""
    return ASRTask.build_preprocess_fn(args, False)


def model_rate(args: argparse.Namespace) -> Optional[int]:
    """Samples per second of a training configuration's speech; None if it does not say."""
    fs = (getattr(args, "frontend_conf", None) or {}).get("fs")
    if fs is None:
        return stack_rate(getattr(args, "encoder_conf", None) or {})
    return int(humanfriendly.parse_size(str(fs)))


def _headers(scp: str, names: Sequence[str]) -> Dict[str, Utterance]:
    """Lengths of those recordings that are plain audio files."""
    paths = read_table(scp)
    found: Dict[str, Utterance] = {}
    for name in names:
        path = Path(paths.get(name, ""))
        try:
            info = soundfile.info(str(path))
        except (soundfile.LibsndfileError, OSError):
            continue
        if info.frames > 0:
            found[name] = Utterance(name, path, info.frames, info.samplerate)
    return found
