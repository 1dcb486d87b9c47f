"""A speech encoder seen as a list of blocks."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Dict, List, Mapping, Optional, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike, atomic_path
from espnet_plugin.compat import torch_load
from espnet_plugin.stacks.parameters import fill
from espnet_plugin.stacks.state import State, zero_padding
from espnet_plugin.surgery.plan import BlockPlan, PlanError

FORMAT = "espnet_plugin stack 1"

BUILDERS = {
    "wav2vec2": "espnet_plugin.stacks.wav2vec2.stack:Wav2Vec2Stack",
    "espnet": "espnet_plugin.stacks.conformer:ConformerStack",
}
"""Who builds a stack from its description, by ``describe()["builder"]``."""


class StackError(ValueError):
    """A file of a stack that cannot be loaded; the message is one line."""


class Stack(nn.Module):
    """A speech encoder: what comes before the blocks, the blocks, and a norm after the last.

    Blocks take and give a :class:`~espnet_plugin.stacks.state.State`, so that those of any family
    follow each other. A subclass says how a state begins (:meth:`embed`) and how it ends
    (:meth:`finish`).

    Attributes:
        blocks: those that are left, in order; a block that is shared is there twice.
        block_numbers: the number in the unedited stack of each of ``blocks``.
        plan: the edit that this stack carries, numbered by the unedited stack; None: no edit.
        map_hook: when set, called in every forward with each block's place in ``blocks``, its maps
            (B, H, T, T) after softmax and before dropout, and the valid frames (B,); see
            :func:`espnet_plugin.stacks.hooks.attention_maps`.
    """

    family: str
    """wav2vec2, hubert, wavlm, conformer or transformer, as in block plans."""
    width: int
    """D, of the hidden states."""
    takes: str
    """"waveform" (B, N) or "features" (B, T, F)."""
    frame_shift: float
    """Seconds per hidden frame."""

    def __init__(self, blocks: List[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.block_numbers: Tuple[int, ...] = tuple(range(len(blocks)))
        self.plan: Optional[BlockPlan] = None
        self.map_hook: Any = None

    def embed(self, inputs: Tensor, lengths: Optional[Tensor] = None) -> State:
        """Everything before block 0.

        Args:
            inputs: (B, N) samples or (B, T, F) features, zero after each end.
            lengths: (B,), in samples or frames; None: all are full.

        Raises:
            ValueError: inputs of another shape, or too short for one hidden frame.
        """
        raise TypeError(f"{type(self).__name__} does not say how its states begin")

    def finish(self, x: Tensor) -> Tensor:
        """What the model does to the last hidden state (B, T, D): nothing, or a norm."""
        return x

    def forward(
        self, inputs: Tensor, lengths: Optional[Tensor] = None, layers: Optional[int] = None
    ) -> Tuple[List[Tensor], Tensor]:
        """All hidden states.

        Args:
            inputs, lengths: as for :meth:`embed`.
            layers: run only so many of the first blocks; :meth:`finish` then has no turn.

        Returns:
            What enters block 0 and what leaves each block that is left, (B, T', D) each, zero on
            padded frames, the last one finished; and the valid frames (B,), int64.

        Raises:
            ValueError: as :meth:`embed`; or ``layers`` is not from 0 to the number of blocks.
        """
        count = len(self.blocks) if layers is None else layers
        if not 0 <= count <= len(self.blocks):
            raise ValueError(f"layers must be from 0 to {len(self.blocks)}, not {layers}")
        state = self.embed(inputs, lengths)
        hidden = [state.x]
        for place in range(count):
            state = self.step(place, state)
            hidden.append(state.x)
        if layers is None:
            hidden[-1] = self.finish(hidden[-1])
        return [zero_padding(x, state.mask) for x in hidden], state.lengths

    def output(self, inputs: Tensor, lengths: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """The last hidden state (B, T', D) alone, and the valid frames (B,); see :meth:`forward`."""
        state = self.embed(inputs, lengths)
        for place in range(len(self.blocks)):
            state = self.step(place, state)
        return zero_padding(self.finish(state.x), state.mask), state.lengths

    def step(self, place: int, state: State) -> State:
        """Run the block at ``place``; its map is kept where the next block follows it."""
        following = self.blocks[place + 1 : place + 2]
        state.keep_maps = any(follows(block) for block in following)
        state.look = None
        if self.map_hook is not None:
            lengths, hook = state.lengths, self.map_hook
            state.look = lambda maps: hook(place, maps, lengths)
        return self.blocks[place](state)

    # -- files ----------------------------------------------------------------------------

    def describe(self) -> Dict[str, Any]:
        """Plain values from which :meth:`build` makes the unedited stack, and ``plan``, as YAML."""
        raise TypeError(f"{type(self).__name__} cannot be described")

    @classmethod
    def build(cls, description: Mapping[str, Any]) -> Stack:
        """The unedited stack of ``description``, with parameters of any value or none."""
        raise TypeError(f"{cls.__name__} cannot be built from a description")

    def save(self, path: PathLike) -> None:
        """Write the stack, whole or not at all: tensors and plain values only."""
        content = {"format": FORMAT, "stack": self.describe(), "tensors": dict(self.state_dict())}
        with atomic_path(path) as temporary:
            torch.save(content, temporary)

    @staticmethod
    def load(path: PathLike, device: str = "cpu") -> Stack:
        """Read what :meth:`save` wrote, edits included; runs no code from the file.

        Raises:
            StackError: one line that names the file and what is wrong with it.
        """
        try:
            return _rebuild(torch_load(path)).to(device).eval()
        except FileNotFoundError:
            raise StackError(f"{path}: not there") from None
        except PlanError as error:
            raise StackError(f"{path}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split())
            said = said if said.startswith(str(path)) else f"{path}: not a saved stack: {said}"
            raise StackError(said) from None


def _rebuild(content: Any) -> Stack:
    from espnet_plugin.surgery.apply import apply_plan

    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT!r}")
    description, tensors = content["stack"], content["tensors"]
    module, name = BUILDERS[description["builder"]].split(":")
    stack: Stack = getattr(import_module(module), name).build(description)
    if description["plan"] is not None:
        stack = apply_plan(stack, BlockPlan.parse(description["plan"]))
    fill(stack, tensors)
    return stack


def follows(block: nn.Module) -> bool:
    """Whether ``block`` takes the attention map of the block before it."""
    return bool(getattr(getattr(block, "attention", None), "follows", False))
