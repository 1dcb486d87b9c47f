"""Transcripts of a Kaldi directory as the tokens of an ASR model."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Dict, List, Sequence

from espnet_plugin.atomic import PathLike
from espnet_plugin.data.kaldi import read_table
from espnet_plugin.decode.text import find_bpemodel
from espnet_plugin.stacks.batches import DataError
from espnet_plugin.stacks.experiment import Experiment

WITHOUT = "no --ctc_weight, no stage task"


class Transcripts:
    """The tokens of utterances, as ESPnet's training makes them.

    Args:
        experiment: whose tokens they are.
        directories: Kaldi directories with a ``text``.
        names: the utterances that will be asked for.

    Raises:
        DataError: a directory without ``text``, or an utterance that has none.
        ValueError: an experiment without a way from text to tokens.
        FileNotFoundError: its SentencePiece model is not there.
    """

    def __init__(
        self, experiment: Experiment, directories: Sequence[PathLike], names: Sequence[str]
    ) -> None:
        from espnet_plugin.task import ASRTask

        self.texts: Dict[str, str] = {}
        for directory in directories:
            try:
                self.texts.update(read_table(Path(directory) / "text"))
            except DataError as error:
                raise DataError(f"{error}; or learn without transcripts ({WITHOUT})") from None
        absent = [name for name in names if name not in self.texts]
        if absent:
            where = " and ".join(f"{directory}/text" for directory in directories)
            raise DataError(
                f"{where}: nothing for {absent[0]} ({len(absent)} are missing); add them, or learn "
                f"without transcripts ({WITHOUT})"
            )
        args = argparse.Namespace(**copy.deepcopy(vars(experiment.args)))
        args.token_list = list(experiment.token_list)
        args.bpemodel = find_bpemodel(args.bpemodel, experiment.directory)
        self.tokens = ASRTask.build_preprocess_fn(args, train=False)
        if self.tokens is None:
            raise ValueError(f"{experiment.directory}: its config.yaml makes no tokens of text")

    def __call__(self, names: Sequence[str]) -> List[List[int]]:
        """The token numbers of each of ``names``."""
        data = [self.tokens(name, {"text": self.texts[name]})["text"] for name in names]
        return [[int(token) for token in one] for one in data]
