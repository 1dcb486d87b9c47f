"""A speech encoder seen as a list of blocks."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any, Dict, List, Mapping, Optional, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.compat import torch_load
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.parameters import fill
from espnet_plugin.stacks.shared import fill_in_twins, leave_out_twins
from espnet_plugin.stacks.state import State, zero_padding
from espnet_plugin.surgery.plan import BlockPlan, PlanError

FORMAT = "espnet_plugin stack 1"

BUILDERS = {
    "wav2vec2": "espnet_plugin.stacks.wav2vec2.stack:Wav2Vec2Stack",
    "espnet": "espnet_plugin.stacks.conformer:ConformerStack",
}
"""Who builds a stack from its description, by ``describe()["builder"]``."""


class Stack(nn.Module):
    """A speech encoder: what comes before the blocks, the blocks, and a norm after the last.

    Blocks take and give a :class:`~espnet_plugin.stacks.state.State`, so that those of any family
    follow each other. A subclass says how a state begins (:meth:`embed`) and how it ends
    (:meth:`finish`).

    Attributes:
        blocks: those that are left, in order; a block that is shared is there twice.
        block_numbers: the number in the unedited stack of each of ``blocks``; of a mimic that of
            the last block that it replaces.
        windows: of each of ``blocks``, how many frames it attends to on both sides; None: all. A
            window belongs to the place: a shared block may be there with and without.
        plans: the edits that this stack carries, the oldest first, each numbered by the places in
            the stack that it was applied to.
        map_hook: when set, called in every forward with each block's place in ``blocks``, its maps
            (B, H, T, T) after softmax and before dropout, and the valid frames (B,); see
            :func:`espnet_plugin.stacks.hooks.attention_maps`.
        map_edit: when set, called likewise with the maps of each block that has its own, before
            ``map_hook``; the maps that it returns take their place. See
            :func:`espnet_plugin.stacks.map_edits.edited_maps`.
        state_hook: when set, called in every forward with the number of each hidden state, the
            state (B, T, D), zero on padding, and the valid frames (B,); see
            :func:`espnet_plugin.stacks.hooks.hidden_states`.
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
        self.windows: Tuple[Optional[int], ...] = (None,) * len(blocks)
        self.plans: Tuple[BlockPlan, ...] = ()
        self.map_hook: Any = None
        self.state_hook: Any = None
        self.map_edit: Any = None

    @property
    def plan(self) -> Optional[BlockPlan]:
        """The last of ``plans``; None: there are none."""
        return self.plans[-1] if self.plans else None

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

    def tidy(self, mimicked: bool) -> None:
        """Take out what no block needs after an edit.

        Args:
            mimicked: whether a mimic took the place of the whole stack.
        """

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
        """The last hidden state (B, T', D) alone, and the valid frames (B,)."""
        state = self.embed(inputs, lengths)
        for place in range(len(self.blocks)):
            state = self.step(place, state)
        return zero_padding(self.finish(state.x), state.mask), state.lengths

    def step(self, place: int, state: State) -> State:
        """Run the block at ``place``; its map is kept where the next block follows it."""
        following = self.blocks[place + 1 : place + 2]
        state.keep_maps = any(follows(block) for block in following)
        state.window = self.windows[place]
        state.look = state.edit = None
        lengths, hook, change = state.lengths, self.map_hook, self.map_edit
        if hook is not None:
            state.look = lambda maps: hook(place, maps, lengths)
        if change is not None:
            state.edit = lambda maps: change(place, maps, lengths)
        if place == 0:
            self._show(0, state)
        state = self.blocks[place](state)
        last = place == len(self.blocks) - 1
        self._show(place + 1, state, last)
        return state

    def _show(self, number: int, state: State, finished: bool = False) -> None:
        if self.state_hook is not None:
            x = self.finish(state.x) if finished else state.x
            self.state_hook(number, zero_padding(x, state.mask), state.lengths)

    # -- files ----------------------------------------------------------------------------

    def describe(self) -> Dict[str, Any]:
        """Plain values from which :meth:`build` makes the unedited stack."""
        raise TypeError(f"{type(self).__name__} cannot be described")

    @classmethod
    def build(cls, description: Mapping[str, Any]) -> Stack:
        """The unedited stack of ``description``, with parameters of any value or none."""
        raise TypeError(f"{cls.__name__} cannot be built from a description")

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As of every module, with the tensors of a shared block once, at its first place."""
        state = super().state_dict(*args, **kwargs)
        leave_out_twins(self.blocks, state, kwargs.get("prefix", "") + "blocks.")
        return state

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        fill_in_twins(self.blocks, state_dict, prefix + "blocks.")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def save(self, path: PathLike) -> None:
        """Write the stack, whole or not at all: tensors and plain values only."""
        content = {
            "format": FORMAT,
            "stack": json.dumps(self.describe()),  # torch 1.13 reads no floats beside tensors
            "plans": [plan.to_yaml() for plan in self.plans],
            "tensors": dict(self.state_dict()),
        }
        with atomic_open(path, "wb") as stream:
            torch.save(content, stream)

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
    from espnet_plugin.surgery.apply import edit

    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT!r}")
    description, tensors = json.loads(content["stack"]), content["tensors"]
    module, name = BUILDERS[description["builder"]].split(":")
    stack: Stack = getattr(import_module(module), name).build(description)
    for text in content["plans"]:
        edit(stack, BlockPlan.parse(text))
    fill(stack, tensors)
    return stack


def follows(block: nn.Module) -> bool:
    """Whether ``block`` takes the attention map of the block before it."""
    return bool(getattr(getattr(block, "attention", None), "follows", False))
