"""Stage 1 of mimicking: a small network learns what the blocks that it replaces compute.

Dorszewski, Jacobsen, Tětková, Hansen (ICASSP 2025, arXiv 2409.16302): MSE(a, block i) + MSE(b,
block j). That i is the end of the first similarity block and j the last block is an inference.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch
from torch import Tensor

from espnet_plugin.analysis.states.block_similarity import BlockSimilarity
from espnet_plugin.analysis.states.structure import first_similarity_block
from espnet_plugin.atomic import PathLike
from espnet_plugin.distill import losses
from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.distill.front import Front
from espnet_plugin.distill.pairs import outputs
from espnet_plugin.distill.settings import DEFAULT, Settings
from espnet_plugin.distill.train import train
from espnet_plugin.stacks.batches import Batch
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.mimic import MimicBlock

Places = Mapping[int, Sequence[int]]
"""Place of a mimic in the student -> for each of its layers the place in the teacher of the block
whose output it learns."""


class Mimicking:
    """The distance of a student's mimics from the blocks that they replace.

    Outputs are compared before the norm behind the last block, which the student has too.

    Args:
        teacher: is put into evaluation mode.
        student: of :func:`espnet_plugin.surgery.apply.apply_plan`, on the same device.
        places: see :data:`Places`.

    Raises:
        ValueError: one line: the student has no mimic; a place without one; not one block for each
            layer.
    """

    def __init__(self, teacher: Stack, student: Stack, places: Places) -> None:
        mimics = mimics_of(student)
        for place, targets in places.items():
            if place not in mimics:
                raise ValueError(f"block {place} of the student is no mimic ({sorted(mimics)} are)")
            layers = len(mimics[place].layers)
            if len(targets) != layers:
                raise ValueError(
                    f"a mimic of {layers} layers learns from {layers} blocks, not {len(targets)}"
                )
            _check(targets, len(teacher.blocks))
        if not places:
            raise ValueError("the student has no mimic to be taught")
        self.teacher, self.student, self.places = teacher.eval(), student, places
        self.mimics = {place: mimics[place] for place in places}
        self.front = Front(teacher, student)

    def __call__(self, batch: Batch) -> Dict[str, Tensor]:
        """``loss``, the sum over layers, and each of them, as ``block_N``."""
        ours, theirs = self.front(batch)
        lengths = ours.lengths
        with torch.no_grad():
            wanted = {block for targets in self.places.values() for block in targets}
            original = outputs(self.teacher, ours, wanted, finish=False)
        terms: Dict[str, Tensor] = {}
        for place in range(max(self.places) + 1):
            if place in self.places:
                layers = self.mimics[place].outputs(theirs.x, theirs.mask)
                for x, block in zip(layers, self.places[place], strict=True):
                    terms[f"block_{block}"] = losses.mean_square(x, original[block], lengths)
            with torch.no_grad():
                if place < max(self.places):
                    theirs = self.student.step(place, theirs)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def teach_mimic(
    student: Stack,
    teacher: Stack,
    batches: SpeechBatches,
    places: Optional[Places] = None,
    settings: Settings = DEFAULT,
    valid: Optional[SpeechBatches] = None,
    directory: Optional[PathLike] = None,
    said: Optional[Dict[str, Any]] = None,
) -> List[Dict[str, Any]]:
    """Stage 1: train the mimics of ``student``, in place, and nothing else of it.

    Args:
        student: ``apply_plan(teacher, plan)`` of a plan with ``mimic``.
        teacher: the unedited stack.
        batches: of speech; no transcripts are needed.
        places: what each layer learns; None: :func:`default_places`.
        settings, valid, directory, said: see :func:`espnet_plugin.distill.train.train`.

    Returns:
        The losses over training; see :class:`espnet_plugin.distill.checkpoint.Progress`.

    Raises:
        ValueError: as :class:`Mimicking` and ``train``.
    """
    if places is None:
        places = default_places(student, teacher, batches)
    objective = Mimicking(teacher, student, places)
    parameters = [p for mimic in objective.mimics.values() for p in mimic.parameters()]
    said = {"places": sorted([place, *blocks] for place, blocks in places.items()), **(said or {})}
    return train(objective, student, parameters, batches, settings, valid, directory, "mimic", said)


def default_places(
    student: Stack, teacher: Stack, batches: SpeechBatches, utterances: int = 40
) -> Places:
    """The last block that a mimic replaces for its last layer; for the first of two layers the end
    of the first similarity block among the blocks that it replaces.

    Args:
        batches: whose first batches are compared.
        utterances: at least so many of them, if there are.

    Raises:
        ValueError: nothing long enough to be compared.
    """
    mimics = mimics_of(student)
    where = {number: place for place, number in enumerate(teacher.block_numbers)}
    similarity: Optional[Tensor] = None
    places: Dict[int, List[int]] = {}
    for place, mimic in mimics.items():
        last = where[student.block_numbers[place]]
        first = 0 if place == 0 else where[student.block_numbers[place - 1]] + 1
        if len(mimic.layers) == 1:
            places[place] = [last]
            continue
        if len(mimic.layers) > 2:
            raise ValueError(f"name the blocks that the {len(mimic.layers)} layers learn")
        if similarity is None:
            similarity = block_cka(teacher, batches, utterances)
        end = first + first_similarity_block(similarity[first : last + 1, first : last + 1])
        places[place] = [end, last]
    return places


def block_cka(teacher: Stack, batches: SpeechBatches, utterances: int = 40) -> Tensor:
    """Linear CKA of the outputs of all blocks, (L, L), over some utterances."""
    found, device = BlockSimilarity(), next(teacher.parameters()).device
    teacher.eval()
    for planned in batches.epoch(0):
        names, inputs, lengths = batches.read(planned)
        with torch.no_grad():
            hidden, frames = teacher(inputs.to(device), lengths.to(device))
        found.update(names, hidden[1:], frames.cpu())
        if len(found.utterances) >= utterances:
            break
    return found.result()["linear_cka"]


def mimics_of(student: Stack) -> Dict[int, MimicBlock]:
    """The mimics of a stack by their places."""
    return {i: block for i, block in enumerate(student.blocks) if isinstance(block, MimicBlock)}


def _check(targets: Sequence[int], blocks: int) -> None:
    for target in targets:
        if not 0 <= target < blocks:
            raise ValueError(f"the teacher has blocks 0 to {blocks - 1}, and not {target}")
