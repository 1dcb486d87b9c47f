"""Utterances to look at: every head's map as a picture, the recording, phones and words.

A measure of the suite (:mod:`espnet_plugin.analysis.suite.measure`). Maps become pictures block
by block, as they are computed; never are two blocks' maps held. The figures beside them
(globalness and its kin of this utterance) come from the maps themselves.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Dict, FrozenSet, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from espnet_plugin.analysis.attention import MEASURES, measure
from espnet_plugin.analysis.examples import sound
from espnet_plugin.analysis.examples.pictures import (
    LARGEST,
    LEVELS,
    picture,
    quantise,
    sheet,
    thumbnail,
)
from espnet_plugin.analysis.suite.measure import MAPS, Context, Utterances
from espnet_plugin.stacks.batches import DataError, Utterance

SIDE = 48
"""Pixels of a thumbnail's side."""
LEAST_BYTES = 1500
"""What any picture may take, however little its share is."""
COLUMNS = ("maximum", "quality", "error", *MEASURES)


def choose(utterances: Sequence[Utterance], wanted: Sequence[str]) -> List[Utterance]:
    """The utterances to keep.

    Args:
        utterances: all of the data.
        wanted: ids; or one number N: N utterances spread evenly over the lengths, the shortest
            and the longest among them (N = 1: the median).

    Raises:
        ValueError: an id that is not in the data, or twice; a number below 1.
    """
    by_name = {one.utt_id: one for one in utterances}
    if len(wanted) == 1 and wanted[0].isdigit() and wanted[0] not in by_name:
        count = min(int(wanted[0]), len(by_name))
        if count < 1:
            raise ValueError(f"examples: {wanted[0]} utterances are none")
        ranked = sorted(by_name.values(), key=lambda one: (one.seconds, one.utt_id))
        ends = np.linspace(0, len(ranked) - 1, count) if count > 1 else [(len(ranked) - 1) / 2]
        return [ranked[round(float(place))] for place in ends]
    for name in wanted:
        if name not in by_name:
            raise ValueError(f"examples: no utterance {name} in the data")
    if len(set(wanted)) < len(wanted):
        raise ValueError("examples: an utterance is named twice")
    return [by_name[name] for name in wanted]


class Kept(NamedTuple):
    """What is kept of an utterance while others are measured."""

    frames: int
    blocks: List[int]
    """Those with maps of their own."""
    heads: List[int]
    """Of each of these."""
    pictures: Tensor
    """uint8, all pictures one after the other, head by head, block by block."""
    sizes: List[int]
    """Bytes of each picture."""
    thumbnails: Tensor
    """(pictures, SIDE, SIDE) uint8."""
    figures: Tensor
    """(pictures, COLUMNS) float64."""


class Examples:
    """The measure.

    Args:
        context: of the pass.
        chosen: the utterances to keep.
        most_bytes: what all their pictures may take together. Each has a share in proportion to
            its frames squared; the quality of the pictures follows from it.
    """

    name = "examples"
    wants: FrozenSet[str] = frozenset({MAPS})

    def __init__(self, context: Context, chosen: Sequence[Utterance], most_bytes: int) -> None:
        self.context = context
        self.chosen = {one.utt_id: one for one in chosen}
        self.most_bytes = most_bytes
        encoder = context.encoder
        heads = sum(encoder.heads[block] for block in encoder.leaders)
        rate = encoder.rate or 0
        shift = encoder.clock.shift
        pixels = sum((one.seconds * (rate or one.rate) / shift) ** 2 for one in chosen) * heads
        self.bytes_per_pixel = most_bytes / max(pixels, 1.0)
        self.kept: Dict[str, Kept] = {}
        self._rows: List[Tuple[int, str]] = []
        self._now: Dict[str, List[Tuple[int, int, bytes, np.ndarray, List[float]]]] = {}
        self._frames: Dict[str, int] = {}

    def begin(self, utterances: Utterances) -> None:
        """Which rows of the batch are kept."""
        self._rows = [(n, u) for n, u in enumerate(utterances.names) if u in self.chosen]
        for _, name in self._rows:
            if name in self.kept:
                raise ValueError(f"{name}: kept already")
        self._now = {name: [] for _, name in self._rows}

    @torch.no_grad()
    def look(self, block: int, maps: Tensor, lengths: Tensor) -> None:
        """Keep the pictures of a block; the maps are not kept.

        Raises:
            ValueError: more frames than a picture has pixels.
        """
        for row, name in self._rows:
            frames = int(lengths[row])
            if frames > LARGEST:
                raise ValueError(f"{name}: {frames} frames; a picture has at most {LARGEST}")
            valid = maps[row : row + 1, :, :frames, :frames]
            figures = torch.stack([value[0] for value in measure(valid, [frames])], 1).cpu()
            most = max(LEAST_BYTES, int(self.bytes_per_pixel * frames**2))
            self._frames[name] = frames
            for head in range(valid.shape[1]):
                levels, maximum = quantise(valid[0, head].float().cpu().numpy())
                drawn = picture(levels, most)
                values = [maximum, float(drawn.quality), drawn.error, *figures[head].tolist()]
                small = thumbnail(levels, SIDE)
                self._now[name].append((block, head, drawn.data, small, values))

    def end(self, states: Sequence[Tensor], lengths: Tensor) -> None:
        """Put away what the batch gave."""
        for name, found in self._now.items():
            blocks = sorted({one[0] for one in found})
            self.kept[name] = Kept(
                self._frames.pop(name),
                blocks,
                [sum(one[0] == block for one in found) for block in blocks],
                torch.frombuffer(bytearray(b"".join(one[2] for one in found)), dtype=torch.uint8),
                [len(one[2]) for one in found],
                torch.from_numpy(np.stack([one[3] for one in found])),
                torch.tensor([one[4] for one in found], dtype=torch.float64),
            )
        self._now = {}

    def merge(self, other: Examples) -> None:
        """Take in what another kept.

        Raises:
            ValueError: it kept an utterance of ours, or other ones were chosen.
        """
        if list(self.chosen) != list(other.chosen):
            raise ValueError("examples: the jobs chose different utterances")
        both = sorted(self.kept.keys() & other.kept.keys())
        if both:
            raise ValueError(f"{both[0]}: kept twice")
        self.kept.update(other.kept)

    def state_dict(self) -> Dict[str, Any]:
        """What was kept, by utterance."""
        return {"kept": {name: dict(one._asdict()) for name, one in self.kept.items()}}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        self.kept = {name: Kept(**one) for name, one in state["kept"].items()}

    def result(self) -> Dict[str, Any]:
        """What docs/report.md says of examples.json."""
        clock, rate = self.context.encoder.clock, self.context.encoder.rate
        place = 0
        utterances = []
        for name in self._order():
            kept, chosen = self.kept[name], self.chosen[name]
            blocks = []
            rows = iter(zip(kept.sizes, kept.figures.tolist(), strict=True))
            for block, heads in zip(kept.blocks, kept.heads, strict=True):
                found = []
                for head in range(heads):
                    size, values = next(rows)
                    found.append({"head": head, "place": place, "bytes": size})
                    found[-1].update(zip(COLUMNS, values, strict=True))
                    place += size
                blocks.append({"block": block, "heads": found})
            utterances.append(
                {
                    "id": name,
                    "seconds": chosen.seconds,
                    "frames": kept.frames,
                    "blocks": blocks,
                    **self._speech(name),
                }
            )
        return {
            "clock": {"shift": clock.shift, "centre": clock.centre, "rate": rate},
            "picture": {"format": "webp", "scale": "square root", "levels": LEVELS, "side": SIDE},
            "utterances": utterances,
            "missing": sorted(set(self.chosen) - set(self.kept)),
        }

    def arrays(self) -> Dict[str, np.ndarray]:
        """``pictures`` (uint8, all joined), and per utterance, by its place in ``utterances``:
        ``sound_N``, ``kind_N`` (its MIME type), ``outline_N`` and ``thumbnails_N`` (a sheet)."""
        order = self._order()
        joined = [self.kept[name].pictures.numpy() for name in order]
        arrays = {"pictures": np.concatenate(joined) if joined else np.zeros(0, np.uint8)}
        for n, name in enumerate(order):
            samples = self.chosen[name].read()
            encoded = sound.encode(samples, self.chosen[name].rate)
            arrays[f"sound_{n}"] = np.frombuffer(encoded.data, np.uint8)
            arrays[f"kind_{n}"] = np.array(encoded.kind)
            arrays[f"outline_{n}"] = sound.outline(samples)
            arrays[f"thumbnails_{n}"] = np.frombuffer(self._sheet(self.kept[name]), np.uint8)
        return arrays

    def tables(self) -> Dict[str, List[List[Any]]]:
        """The figures of each head and utterance."""
        rows: List[List[Any]] = [["utterance", "frames", "block", "head", "maximum", *MEASURES]]
        for utterance in self.result()["utterances"]:
            for block in utterance["blocks"]:
                for head in block["heads"]:
                    where = [utterance["id"], utterance["frames"], block["block"], head["head"]]
                    rows.append(where + [head[key] for key in ("maximum", *MEASURES)])
        return {"": rows}

    def _order(self) -> List[str]:
        """Kept utterances, the shortest first."""
        return sorted(self.kept, key=lambda name: (self.chosen[name].seconds, name))

    @cached_property
    def _texts(self) -> Dict[str, str]:
        try:
            return self.context.texts
        except DataError:
            return {}  # recordings without transcripts can be looked at too

    def _speech(self, name: str) -> Dict[str, Any]:
        labels = self.context.alignments
        there = labels is not None and name not in labels.without
        phones = labels.phones(name) if labels is not None and there else []
        words = labels.words(name) if labels is not None and there else []
        return {
            "text": self._texts.get(name) or " ".join(one.text for one in words),
            "phones": [list(one) for one in phones],
            "words": [list(one) for one in words],
        }

    def _sheet(self, kept: Kept) -> bytes:
        """Rows: blocks with maps; columns: heads."""
        shape = (len(kept.blocks), max(kept.heads), SIDE, SIDE)
        grid, at = np.zeros(shape, np.uint8), 0
        for row, heads in enumerate(kept.heads):
            grid[row, :heads] = kept.thumbnails[at : at + heads].numpy()
            at += heads
        return sheet(grid)


def make(context: Context) -> Examples:
    """The measure for the suite; ``--examples`` and ``--examples_megabytes`` are its options."""
    wanted = [str(one) for one in context.options.get("examples") or ["3"]]
    megabytes = float(context.options.get("examples_megabytes") or 9.0)
    return Examples(context, choose(context.utterances, wanted), int(megabytes * 1e6))
