"""Which hidden state of a student is to be like which of its teacher."""

from __future__ import annotations

from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

from torch import Tensor

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import State, zero_padding


class Pair(NamedTuple):
    """Places in ``blocks`` whose outputs are compared; the last of a stack with its norm."""

    student: int
    teacher: int


def default_pairs(student: Stack, teacher: Stack) -> Tuple[Pair, ...]:
    """The first block after each gap, where a block of the teacher is missing before it or a mimic
    has taken the place of some, and the final output.

    The block before a gap computes what it did; to hold it there would keep it from doing the work
    of those that are gone.

    Raises:
        ValueError: a block of the student that is none of the teacher's.
    """
    where = _places(teacher)
    places = [where[number] for number in _known(student.block_numbers, where)]
    before = [-1, *places]
    gaps = [Pair(i, place) for i, place in enumerate(places[:-1]) if place != before[i] + 1]
    return (*gaps, Pair(len(places) - 1, len(teacher.blocks) - 1))


def pairs_of(student: Stack, teacher: Stack, blocks: Sequence[int]) -> Tuple[Pair, ...]:
    """The given blocks and the final output.

    Args:
        blocks: by their numbers in the unedited stack.

    Raises:
        ValueError: one that teacher or student do not have.
    """
    mine, where = _places(student), _places(teacher)
    _known(blocks, mine)
    pairs = {Pair(mine[number], where[number]) for number in _known(blocks, where)}
    return tuple(sorted(pairs | {Pair(len(mine) - 1, len(where) - 1)}))


def outputs(
    stack: Stack, state: State, places: Iterable[int], finish: bool = True
) -> Dict[int, Tensor]:
    """The hidden states after the blocks at ``places``; those after the last of them do not run.

    Args:
        state: what enters block 0; it is changed.
        finish: the last block's output goes through the norm behind it, if the stack has one.

    Returns:
        By place, (B, T, D), zero on padded frames.
    """
    wanted = set(places)
    found: Dict[int, Tensor] = {}
    for place in range(max(wanted, default=-1) + 1):
        state = stack.step(place, state)
        if place in wanted:
            last = finish and place == len(stack.blocks) - 1
            found[place] = zero_padding(stack.finish(state.x) if last else state.x, state.mask)
    return found


def _places(stack: Stack) -> Dict[int, int]:
    return {number: place for place, number in enumerate(stack.block_numbers)}


def _known(numbers: Sequence[int], there: Dict[int, int]) -> List[int]:
    absent = [number for number in numbers if number not in there]
    if absent:
        listed = ", ".join(str(number) for number in there)
        raise ValueError(f"block {absent[0]} is not there (there are {listed})")
    return list(numbers)
