"""Plans that drop the most redundant blocks first, and the similarity that says which these are.

Source: Dorszewski et al., ICASSP 2025 (arXiv 2409.16302); see
:mod:`espnet_plugin.surgery.pruning_order`. The paper's samples were whole utterances of one
length, each one long vector. Here a sample is a frame, or an utterance's mean over its frames;
that the mean may stand for an utterance of any length is an inference.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Union

import torch

from espnet_plugin.analysis.states.block_similarity import BlockSimilarity, PooledSimilarity
from espnet_plugin.atomic import PathLike, write_json
from espnet_plugin.progress import progress
from espnet_plugin.stacks.batches import Utterance, plan_batches, read_batch
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.plan import BlockPlan, StackDescription
from espnet_plugin.surgery.pruning_order import ORDERS, SIMILARITY, pruning_order

SAMPLES = ("frames", "utterances")

_KEYS = {"cosine": "cosine", "linear CKA": "linear_cka", "mutual k-NN": "mutual_knn"}


@dataclass
class Similarities:
    """How alike the states of a stack are: state 0 enters block 0, state l + 1 leaves block l.

    Attributes:
        model, data: where they come from.
        samples: one of :data:`SAMPLES`.
        neighbours: k of mutual k-NN.
        utterances: of how many the data was; of frames, some may be too short to be compared.
        values: ``cosine``, ``linear_cka`` (unbiased), ``mutual_knn``, each (L + 1, L + 1).
    """

    model: str
    data: str
    samples: str
    neighbours: int
    utterances: int
    values: Dict[str, List[List[float]]]

    def save(self, path: PathLike) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: PathLike) -> Similarities:
        """Read it.

        Raises:
            ValueError: the file is not one that :meth:`save` wrote.
        """
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: holds no similarities of blocks: {error}") from None

    def serves(self, other: Similarities) -> bool:
        """Whether these are of the same speech, compared in the same way."""
        mine, its = asdict(self), asdict(other)
        return all(mine[key] == its[key] for key in mine if key != "values")

    def of(self, order: str) -> Optional[List[List[float]]]:
        """The measure that an order needs; None: it needs none."""
        measure = SIMILARITY.get(order)
        return None if measure is None else self.values[_KEYS[measure]]


@torch.no_grad()
def measure_similarities(
    stack: Stack,
    utterances: Sequence[Utterance],
    samples: str = "frames",
    neighbours: int = 10,
    batch_seconds: float = 60.0,
) -> Dict[str, List[List[float]]]:
    """Compare all pairs of states of a stack in one pass.

    Args:
        stack: takes waveforms; in evaluation mode.
        samples: "frames", or "utterances" (the mean over the frames of each).
        neighbours: k of mutual k-NN.
        batch_seconds: speech of a batch.

    Returns:
        ``values`` of :class:`Similarities`.

    Raises:
        ValueError: unknown samples, or too few of them for the measures.
        DataError: a recording that breaks off.
    """
    if samples not in SAMPLES:
        raise ValueError(f"samples must be one of {', '.join(SAMPLES)}, not {samples!r}")
    least = max(neighbours + 1, 4)
    if samples == "utterances" and len(utterances) < least:
        raise ValueError(
            f"{len(utterances)} utterances are too few for {neighbours} neighbours: give {least}, "
            "or fewer neighbours, or compare frames"
        )
    device = next(stack.parameters()).device
    found: Union[BlockSimilarity, PooledSimilarity] = BlockSimilarity(neighbours)
    if samples == "utterances":
        found = PooledSimilarity(neighbours, most=len(utterances))
    for batch in progress(plan_batches(list(utterances), batch_seconds), "states (batches)"):
        names, speech, lengths = read_batch(batch)
        hidden, frames = stack(speech.to(device), lengths.to(device))
        found.update(names, hidden, frames)
    result = found.result()
    return {key: result[key].tolist() for key in _KEYS.values()}


def check_remove(order: str, blocks: int, remove: int) -> None:
    """Whether an order can drop so many blocks; all orders leave one at least.

    Raises:
        ValueError: it cannot, or there is no such order.
    """
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r} (one of {', '.join(ORDERS)})")
    if not 0 <= remove < blocks:
        raise ValueError(f"{order} can drop 0 to {blocks - 1} of {blocks} blocks, not {remove}")


def order_plan(
    description: StackDescription,
    order: str,
    remove: int,
    similarities: Optional[Similarities] = None,
    core: Sequence[int] = (),
) -> BlockPlan:
    """The plan that drops the first ``remove`` blocks of a pruning order.

    Args:
        description: of the stack.
        order, core: see :func:`pruning_order`.
        remove: blocks to drop.
        similarities: for the orders that need them.

    Raises:
        ValueError: an unknown order, similarities that are missing or of another stack, or more
            blocks than the order has (or all).
    """
    blocks = description.blocks
    values = None if similarities is None else similarities.of(order)
    check_remove(order, blocks, remove)
    chosen = pruning_order(order, blocks, values, core)[:remove]
    because = tuple(
        f"block {block}: number {rank} of {order} to go{_figure(order, block, similarities)}"
        for rank, block in enumerate(chosen, 1)
    )
    return BlockPlan(description, tuple(Drop(block) for block in chosen), because)


def _figure(order: str, block: int, found: Optional[Similarities]) -> str:
    values = None if found is None else found.of(order)
    if found is None or values is None:
        return ""
    over = f"{found.samples} of {found.utterances} utterances"
    if order == "multi_knn_influence":
        others = [v for state, v in enumerate(values[block + 1]) if state != block + 1]
        mean = sum(others) / len(others)
        return f"; mean mutual k-NN (k = {found.neighbours}) with all others {mean:.4f}, {over} [I]"
    measure = SIMILARITY[order]
    named = f"{measure} (k = {found.neighbours})" if measure == "mutual k-NN" else measure
    return f"; {named} of its input and output {values[block][block + 1]:.4f}, {over}"
