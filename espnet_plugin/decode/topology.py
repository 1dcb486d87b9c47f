"""The CTC topology H: what turns a sequence of frames into a sequence of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import torch

from espnet_plugin.compat import require_k2

if TYPE_CHECKING:
    import k2

TOPOLOGIES = ("standard", "modified")


def ctc_topology(
    vocab_size: int,
    topology: str = "standard",
    device: Union[str, torch.device] = "cpu",
) -> k2.Fsa:
    """Build H over the tokens 0 … ``vocab_size`` − 1, where 0 is the blank.

    Args:
        vocab_size: the number of CTC outputs V, the blank included.
        topology: ``standard`` demands a blank between two equal tokens (Graves et al. 2006) and
            has V² arcs; ``modified`` lets two equal tokens follow each other without one, has
            about 3·V arcs, and so suits large vocabularies (k2 issue 746).
        device: where the graph is built.

    Returns:
        An arc-sorted transducer: ``labels`` are frames' tokens, ``aux_labels`` the tokens of
        the transcript, with 0 for none.

    Raises:
        ValueError: if ``topology`` is unknown or there is nothing but the blank.
        ImportError: if k2 is not installed.
    """
    if topology not in TOPOLOGIES:
        raise ValueError(f"topology must be one of {', '.join(TOPOLOGIES)}, not {topology!r}")
    if vocab_size < 2:
        raise ValueError(f"a CTC topology needs a blank and a token, but vocab_size={vocab_size}")
    k2 = require_k2()
    graph = k2.ctc_topo(
        max_token=vocab_size - 1, modified=topology == "modified", device=torch.device(device)
    )
    return k2.arc_sort(graph)
