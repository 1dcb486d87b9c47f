"""Batches of speech by duration, drawn afresh in each epoch."""

from __future__ import annotations

import random
from typing import Callable, List, Optional, Sequence

from torch.nn import functional

from espnet_plugin.stacks.batches import Batch, Utterance, read_batch

SPREAD = 0.15
"""How far a length is moved, as a share, before utterances are put side by side by length."""


class SpeechBatches:
    """All utterances once per epoch, in batches of like length that are new in each epoch.

    The code published with Dorszewski et al. (2025) trains on the first batch for ever. Here an
    epoch depends on nothing but its number and the seed, so training can be continued anywhere.

    Args:
        utterances: of :func:`espnet_plugin.stacks.batches.list_utterances`, or any with an id and a
            length, if ``read`` knows how to read them.
        max_seconds: most seconds of a batch, padding included; a longer utterance makes a batch by
            itself.
        seed: of the draws; None: every epoch has the same batches, longest first, as held-out data
            need.
        read: from a batch's utterances to their ids, inputs (B, N) and lengths (B,).

    Raises:
        ValueError: no utterances, or no time.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        max_seconds: float = 60.0,
        seed: Optional[int] = 0,
        read: Callable[[List[Utterance]], Batch] = read_batch,
    ) -> None:
        if not utterances:
            raise ValueError("there are no utterances to make batches of")
        if max_seconds <= 0:
            raise ValueError(f"batches of {max_seconds} s cannot be made")
        self.utterances = sorted(utterances, key=lambda u: u.utt_id)
        self.max_seconds, self.seed, self.read = max_seconds, seed, read

    def epoch(self, number: int) -> List[List[Utterance]]:
        """The batches of epoch ``number`` (from 0), not read yet."""
        lengths = {u.utt_id: u.seconds for u in self.utterances}
        draw = random.Random(f"{self.seed} {number}")
        if self.seed is not None:
            for name in lengths:
                lengths[name] *= 1 + draw.uniform(-SPREAD, SPREAD)
        batches: List[List[Utterance]] = []
        longest = 0.0
        for one in sorted(self.utterances, key=lambda u: (-lengths[u.utt_id], u.utt_id)):
            longest = max(longest, one.seconds)
            if batches and longest * (len(batches[-1]) + 1) <= self.max_seconds:
                batches[-1].append(one)
            else:
                batches.append([one])
                longest = one.seconds
        if self.seed is not None:
            draw.shuffle(batches)
        return batches


def at_random_speed(
    spread: float, seed: int = 0, read: Callable[[List[Utterance]], Batch] = read_batch
) -> Callable[[List[Utterance]], Batch]:
    """A ``read`` for :class:`SpeechBatches`: each batch is played a little slower or faster.

    The speed is drawn anew for every batch, by its utterances and the seed, and pitch goes with it
    (samples are interpolated linearly). A teacher says something of such speech too; of speech that
    it was trained on it often says the transcripts and no more.

    Args:
        spread: speeds are from 1 − spread to 1 + spread.
        seed: of the draws.
        read: what reads waveforms.

    Raises:
        ValueError: a spread that is not from 0 to less than 1.
    """
    if not 0 <= spread < 1:
        raise ValueError(f"speeds vary by 0 to less than 1, not {spread:g}")

    def changed(utterances: List[Utterance]) -> Batch:
        names, speech, lengths = read(utterances)
        draw = random.Random(f"{seed} {' '.join(names)}")
        longer = 1 / draw.uniform(1 - spread, 1 + spread)
        size = max(1, round(speech.size(1) * longer))
        speech = functional.interpolate(speech.unsqueeze(1), size=size, mode="linear").squeeze(1)
        return names, speech, (lengths * longer).long().clamp(1, size)

    return changed
