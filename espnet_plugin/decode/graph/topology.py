"""The CTC topology H: what turns a sequence of frames into a sequence of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Tuple, Union

import torch
from torch import Tensor

from espnet_plugin.compat import require_k2

if TYPE_CHECKING:
    import k2

TOPOLOGIES = ("standard", "modified")


def check_topology(topology: str) -> None:
    """Refuse a topology that is not one of :data:`TOPOLOGIES`.

    Raises:
        ValueError: naming the topologies there are.
    """
    if topology not in TOPOLOGIES:
        raise ValueError(f"topology must be one of {', '.join(TOPOLOGIES)}, not {topology!r}")


def ctc_topology(
    vocab_size: int,
    topology: str = "standard",
    device: Union[str, torch.device] = "cpu",
) -> k2.Fsa:
    """Build H over the tokens 0 … ``vocab_size`` − 1, where 0 is the blank.

    The same graph as ``k2.arc_sort(k2.ctc_topo(vocab_size - 1, modified))``; the arcs are written
    in their sorted order at once, which at V = 5000 (25 M arcs) saves the sort and its copies.

    Args:
        vocab_size: the number of CTC outputs V, the blank included.
        topology: ``standard`` demands a blank between two equal tokens (Graves et al. 2006) and
            has V² arcs; ``modified`` lets two equal tokens follow each other without one, has
            about 4·V arcs, and so suits large vocabularies (k2 issue 746).
        device: where the graph is built.

    Returns:
        An arc-sorted transducer: ``labels`` are frames' tokens, ``aux_labels`` the tokens of
        the transcript, with 0 for none.

    Raises:
        ValueError: if ``topology`` is unknown or there is nothing but the blank.
        ImportError: if k2 is not installed.
    """
    check_topology(topology)
    if vocab_size < 2:
        raise ValueError(f"a CTC topology needs a blank and a token, but vocab_size={vocab_size}")
    k2 = require_k2()
    if topology == "modified":
        arcs, aux_labels = _modified(vocab_size, torch.device(device))
        return k2.Fsa(arcs, aux_labels)
    arcs, aux_labels = _standard(vocab_size, torch.device(device))
    if vocab_size <= 2:
        return k2.Fsa(arcs, aux_labels)
    # The places of the states and the properties are known, so k2 need not look at every arc.
    from _k2 import RaggedArc

    splits = torch.arange(vocab_size + 2, dtype=torch.int32, device=arcs.device)
    splits = (splits * (vocab_size + 1)).clamp(max=len(arcs))
    shape = k2.ragged.create_ragged_shape2(row_splits=splits, cached_tot_size=len(arcs))
    properties = ctc_topology(2, topology).properties
    fsa = k2.Fsa(RaggedArc(shape, arcs), properties=properties)
    fsa.aux_labels = aux_labels
    return fsa


def begun_tokens(fsa: k2.Fsa) -> Tensor:
    """Where tokens begin in a graph of the modified topology.

    The states within a run of equal frames are those that no arc with a blank leaves.

    Args:
        fsa: H, HL or HLG; its labels are frames' tokens, 0 the blank.

    Returns:
        (A) int32: the token of an arc that is the first frame of one, else 0.
    """
    sources = fsa.arcs.values()[:, 0].long()
    between = torch.zeros(fsa.shape[0], dtype=torch.bool, device=sources.device)
    between[sources[fsa.labels == 0]] = True
    return torch.where(between[sources], fsa.labels.clamp(min=0), torch.zeros_like(fsa.labels))


def _standard(size: int, device: torch.device) -> Tuple[Tensor, Tensor]:
    # State i: the last frame was token i. Arcs of a state: to every state j, then to the end.
    states = torch.arange(size + 1, dtype=torch.int32, device=device)
    labels = states.clone()
    labels[size] = -1
    zeros = torch.zeros_like(states)
    arcs = torch.stack([zeros, states, labels, zeros], 1).repeat(size, 1)
    arcs.view(size, size + 1, 4)[:, :, 0] = states[:size, None]
    aux_labels = labels.repeat(size, 1)
    aux_labels[:, :size].fill_diagonal_(0)
    return arcs, aux_labels.view(-1)


def _modified(size: int, device: torch.device) -> Tuple[Tensor, Tensor]:
    # State 0: between tokens. State i: within a run of token i. Final state: ``size``.
    tokens = torch.arange(1, size, dtype=torch.int32, device=device)
    none = torch.zeros_like(tokens)
    starts = torch.stack([none, none, tokens, none, none, tokens, tokens, none], 1).view(-1, 4)
    runs = torch.stack([tokens, none, tokens, none, tokens, tokens, tokens, none], 1).view(-1, 4)
    blank, end = tokens.new_tensor([[0, 0, 0, 0]]), tokens.new_tensor([[0, size, -1, 0]])
    arcs = torch.cat([blank, starts, end, runs])
    aux_labels = torch.cat([blank[0, :1], starts[:, 2], end[0, 2:3], torch.zeros_like(runs[:, 2])])
    return arcs, aux_labels
