"""CTC posteriors made once, so that every search under test reads the same ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.atomic import PathLike, atomic_path
from espnet_plugin.compat import torch_load
from espnet_plugin.score.counts import align, count_errors
from espnet_plugin.score.sets import read_text
from espnet_plugin.stacks.batches import list_utterances, plan_batches, read_batch


@dataclass(frozen=True)
class Posteriors:
    """The posteriors of a set.

    Attributes:
        batches: ``(log_probs, lengths, names)``: (B, T, V) float32, (B,) frames, (B) ids.
        references: id -> transcript.
        seconds: of speech, padding excluded.
    """

    batches: List[Tuple[Tensor, Tensor, List[str]]]
    references: Dict[str, str]
    seconds: float

    @property
    def vocab_size(self) -> int:
        return self.batches[0][0].size(-1)

    def one_by_one(self) -> List[Tuple[str, Tensor]]:
        """(id, (T, V) log posteriors) of every utterance, nothing padded."""
        return [
            (name, log_probs[i, : int(lengths[i])].contiguous())
            for log_probs, lengths, names in self.batches
            for i, name in enumerate(names)
        ]

    def save(self, path: PathLike) -> None:
        with atomic_path(path) as temporary:
            # torch 1.13 reads floats from a file only as tensors
            seconds = torch.tensor(self.seconds, dtype=torch.float64)
            torch.save({**asdict(self), "seconds": seconds}, temporary)

    @classmethod
    def load(cls, path: PathLike) -> Posteriors:
        content = torch_load(path)
        return cls(content["batches"], content["references"], float(content["seconds"]))


def error_rate(references: Dict[str, str], hypotheses: Dict[str, Sequence[str]]) -> float:
    """WER in percent over the set; every reference needs a hypothesis (a list of words)."""
    counts = [count_errors(align(t.split(), hypotheses[n])) for n, t in references.items()]
    return 100.0 * sum(c.errors for c in counts) / sum(c.tokens for c in counts)


def compute(
    exp_dir: PathLike,
    data_dir: PathLike,
    utterances: int,
    max_seconds: float = 120.0,
    bpemodel: str | None = None,
) -> Posteriors:
    """Run the encoder of an ESPnet experiment over the first utterances of a Kaldi directory.

    Args:
        exp_dir: what ESPnet's training wrote.
        data_dir: with ``wav.scp`` and ``text``.
        utterances: how many at most, in the order of ``wav.scp``.
        max_seconds: of a batch, padding included.
        bpemodel: instead of the one that the experiment names.
    """
    from espnet_plugin.decode import CtcDecoder

    decoder = CtcDecoder.from_experiment(exp_dir, method="greedy", bpemodel=bpemodel)
    chosen = list_utterances(data_dir)[:utterances]
    texts = read_text(Path(data_dir) / "text")
    batches = []
    for planned in plan_batches(chosen, max_seconds):
        names, speech, sizes = read_batch(planned)
        arrays = [one[:size] for one, size in zip(speech, sizes.tolist(), strict=True)]
        batches.append((*decoder.posteriors(arrays), list(names)))
    references = {utterance.utt_id: texts[utterance.utt_id] for utterance in chosen}
    return Posteriors(batches, references, sum(utterance.seconds for utterance in chosen))


def plant(
    sentences: Dict[str, str],
    pieces: Dict[str, List[Tuple[int, ...]]],
    vocab_size: int,
    noise: float = 3.5,
    batch: int = 8,
    seed: int = 0,
) -> Posteriors:
    """Posteriors as of a CTC model that heard ``sentences`` in noise.

    Every piece peaks in one frame, two to six frames after the last; the other frames are blank.
    Gaussian noise on the logits makes pieces lose against others.

    Args:
        sentences: id -> text, each of its words in ``pieces``.
        pieces: word -> its segmentations into token numbers; the first is planted.
        vocab_size: V, blank 0 included.
        noise: standard deviation of the logits; at 3.5 and 500 pieces every tenth piece or so
            is not the best of its frame.
        batch: utterances per batch, of like length.
        seed: of the generator.
    """
    generator = torch.Generator().manual_seed(seed)
    made = [
        (
            name,
            _planted([t for w in text.split() for t in pieces[w][0]], vocab_size, noise, generator),
        )
        for name, text in sentences.items()
    ]
    made.sort(key=lambda item: len(item[1]))
    batches = []
    for i in range(0, len(made), batch):
        names = [name for name, _ in made[i : i + batch]]
        logits = [one for _, one in made[i : i + batch]]
        padded = torch.nn.utils.rnn.pad_sequence(logits, batch_first=True)
        lengths = torch.tensor([len(one) for one in logits])
        batches.append((torch.log_softmax(padded, dim=-1), lengths, names))
    seconds = 0.04 * sum(len(one) for _, one in made)
    return Posteriors(batches, dict(sentences), seconds)


def _planted(tokens: List[int], vocab: int, noise: float, generator: torch.Generator) -> Tensor:
    gaps = torch.randint(2, 7, (len(tokens),), generator=generator)
    places = gaps.cumsum(0) - 1
    frames = int(places[-1]) + 3 if len(tokens) else 5
    logits = noise * torch.randn(frames, vocab, generator=generator)
    logits[:, 0] += 4.5 * noise
    logits[places, 0] -= 3.5 * noise
    logits[places, torch.tensor(tokens, dtype=torch.int64)] += 4.0 * noise
    return logits
