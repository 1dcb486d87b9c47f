"""Analysis directories for the tests of the report, written by the measures themselves.

Maps are made, not a model's: diagonal, shifted, vertical, global ones, and such that look for
frames of the same phone.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, List, Sequence

import numpy as np
import soundfile
import torch

from espnet_plugin.analysis.blocks.block_pattern import Patterns
from espnet_plugin.analysis.examples.examples import Examples
from espnet_plugin.analysis.maps.map_measures import Attention, Similarity
from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.analysis.phonemes.phoneme_attention_measure import PhonemeAttention
from espnet_plugin.analysis.phonemes.relation_measure import Relation
from espnet_plugin.analysis.suite.measure import Context, Utterances
from espnet_plugin.analysis.suite.results import write_results
from espnet_plugin.data.phones import ARPABET
from espnet_plugin.data.textgrid import Interval
from espnet_plugin.stacks.batches import Utterance

RATE, SHIFT, CENTRE = 16000, 320, 200
WORDS = "THE QUICK BROWN FOX JUMPS OVER A LAZY DOG AND RUNS HOME".split()
PHONES = "SIL DH AH0 K W IH1 B R AW1 N F AA1 S JH AH1 M P OW1 V ER0 L EY1 Z IY0 D G".split()


class Labels:
    """Alignments as :class:`espnet_plugin.analysis.phonemes.labels.PhoneLabels` gives them."""

    without: Sequence[str] = ()
    symbols = [*ARPABET, "SIL"]

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self._seconds = {one.utt_id: one.seconds for one in utterances}

    def phones(self, name: str) -> List[Interval]:
        edges = np.arange(0.0, self._seconds[name], 0.085)
        return [
            Interval(float(start), float(start) + 0.085, PHONES[(n * 7) % len(PHONES)])
            for n, start in enumerate(edges)
        ]

    def frames(self, name: str, clock: FrameClock, num_frames: int, rate: int) -> torch.Tensor:
        ends = torch.tensor([round(one.end * rate) for one in self.phones(name)])
        kinds = [self.symbols.index(one.text.rstrip("012")) for one in self.phones(name)]
        places = torch.searchsorted(ends, clock.samples(num_frames), right=True)
        return torch.tensor(kinds)[places.clamp(max=len(kinds) - 1)]

    def words(self, name: str) -> List[Interval]:
        edges = np.arange(0.0, self._seconds[name], 0.34)
        return [
            Interval(float(start), float(start) + 0.34, WORDS[n % len(WORDS)])
            for n, start in enumerate(edges)
        ]


def make_maps(block: int, heads: int, frames: int, seed: int = 0) -> torch.Tensor:
    """(1, heads, frames, frames): sharper and more diagonal with the block's number."""
    generator = np.random.default_rng(1000 * seed + block)
    time = np.arange(frames)
    kinds = generator.normal(size=(frames // 4 + 1, 24)).repeat(4, 0)[:frames]
    likeness = (kinds @ kinds.T / 5).astype(np.float32)
    column = (
        2.5 * np.abs(generator.normal(size=frames)).repeat(1) * (generator.random(frames) > 0.9)
    )
    apart = np.abs(time[:, None] - time)
    maps = []
    for head in range(heads):
        kind = (head + block) % 4
        scores = likeness * (0.3 if kind else 1.0)
        if kind == 1:
            scores = scores - np.abs(apart - 2 * head) / (1 + block)
        elif kind == 2:
            scores = scores + 2 * column
        elif kind == 3:
            scores = scores - apart / 20
        weights = np.exp(scores - scores.max(1, keepdims=True), dtype=np.float32)
        maps.append(weights / weights.sum(1, keepdims=True))
    return torch.from_numpy(np.stack(maps)[None])


def make_recordings(folder: Path, seconds: Sequence[float]) -> List[Utterance]:
    """Tones that begin and end, as files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for n, length in enumerate(seconds):
        time = np.arange(int(length * RATE)) / RATE
        loud = 0.15 + 0.15 * np.sin(2 * np.pi * 1.7 * time)
        samples = loud * np.sin(2 * np.pi * (180 + 40 * np.sin(2 * np.pi * 0.9 * time)) * time)
        path = folder / f"tone-{n}.wav"
        soundfile.write(path, samples, RATE)
        found.append(Utterance(f"tone-{n}", path, len(samples), RATE))
    return found


def frames_of(utterance: Utterance) -> int:
    return (utterance.samples - 400) // SHIFT + 1


def make_context(
    folder: Path, seconds: Sequence[float], groups: Sequence[Sequence[int]], heads: int
) -> Context:
    utterances = make_recordings(folder / "audio", seconds)
    blocks = sum(len(group) for group in groups)
    encoder = SimpleNamespace(
        groups=[list(group) for group in groups],
        leaders=[group[0] for group in groups],
        heads=[heads] * blocks,
        blocks=blocks,
        rate=RATE,
        clock=FrameClock(SHIFT, CENTRE, 400),
    )
    context = Context(encoder, str(folder), utterances, Labels(utterances), {})  # type: ignore[arg-type]
    context.__dict__["texts"] = {u.utt_id: " ".join(WORDS) for u in utterances}
    return context


def describe(name: str, context: Context) -> Any:
    """What the files say of the model and the data."""
    encoder = context.encoder
    model = {
        "directory": f"exp/{name}",
        "checkpoint": "valid.loss.ave.pth",
        "encoder": "conformer",
        "family": "conformer",
        "blocks": encoder.blocks,
        "heads": encoder.heads,
        "groups": encoder.groups,
        "width": 64,
        "rate": RATE,
        "parameters": 1_300_000,
        "encoder_parameters": 1_234_567,
        "sha256": name,
    }
    data = {
        "directory": "dump/raw/test",
        "utterances": len(context.utterances),
        "seconds": sum(one.seconds for one in context.utterances),
        "sha256": "data",
    }
    return model, data


MEASURES = (
    *("attention", "map_similarity", "patterns", "examples"),
    *("relation", "phoneme_attention"),
)


def write_analysis(
    out: Path,
    name: str = "asr_conformer",
    seconds: Sequence[float] = (0.9, 1.6, 3.1),
    groups: Sequence[Sequence[int]] = ((0,), (1,), (2, 3)),
    heads: int = 4,
    measures: Sequence[str] = MEASURES,
    megabytes: float = 9.0,
    seed: int = 0,
) -> Path:
    """A directory as ``bin.analyze`` writes one."""
    context = make_context(out / "made", seconds, groups, heads)
    encoder = context.encoder
    phones = (encoder.leaders, encoder.heads, encoder.clock, context.alignments)
    there = {
        "relation": Relation(*phones),  # type: ignore[arg-type]
        "phoneme_attention": PhonemeAttention(*phones),  # type: ignore[arg-type]
        "attention": Attention(encoder.groups, encoder.heads),
        "map_similarity": Similarity(encoder.groups, encoder.heads),
        "patterns": Patterns(encoder.leaders),
        "examples": Examples(context, context.utterances, int(megabytes * 1e6)),
    }
    chosen = [there[one] for one in measures]
    for utterance in context.utterances:
        frames = torch.tensor([frames_of(utterance)])
        speech = torch.from_numpy(utterance.read())[None]
        batch = Utterances([utterance.utt_id], torch.tensor([utterance.samples]), RATE, speech)
        for measure in chosen:
            measure.begin(batch)
        for block in encoder.leaders:
            maps = make_maps(block, heads, int(frames), seed)
            for measure in chosen:
                measure.look(block, maps, frames)
        for measure in chosen:
            measure.end([], frames)
    model, data = describe(name, context)
    write_results(out, chosen, model, data, {})
    return out
