"""Rescore n-best lists with the model's attention decoder and an ESPnet language model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.decode.rescore.nbest import Path

Tokens = Tuple[int, ...]


def attention_rescoring(
    nbest: Sequence[Sequence[Path]],
    model: Any,
    hidden: Tensor,
    lengths: Tensor,
    nnlm: Optional[Any] = None,
    batch_size: int = 100,
) -> List[List[Path]]:
    """Add the scores ``attention``, and ``nnlm`` if a model of that kind is given, to paths.

    The tokens that are scored are those of each path's alignment.

    Args:
        nbest: one list per utterance.
        model: an ``ESPnetASRModel`` with an attention decoder, in evaluation mode.
        hidden: (B, T, D) encoder output of the utterances, on the device of ``model``.
        lengths: (B,) valid frames.
        nnlm: an ``ESPnetLanguageModel`` over the same tokens, in evaluation mode.
        batch_size: hypotheses that are scored at once (ESPnet's ``nll_batch_size``).

    Returns:
        The same lists; :func:`~espnet_plugin.decode.rescore.nbest.rank` orders them.

    Raises:
        ValueError: if the model has no attention decoder, or ``batch_size`` is below 1.
    """
    scored = {"attention": attention_scores(nbest, model, hidden, lengths, batch_size)}
    if nnlm is not None:
        scored["nnlm"] = nnlm_scores(nbest, nnlm, batch_size)
    return [
        [
            replace(path, extra={**path.extra, **{name: s[i][k] for name, s in scored.items()}})
            for k, path in enumerate(paths)
        ]
        for i, paths in enumerate(nbest)
    ]


def attention_scores(
    nbest: Sequence[Sequence[Path]],
    model: Any,
    hidden: Tensor,
    lengths: Tensor,
    batch_size: int = 100,
) -> List[List[float]]:
    """Natural log probability of every path's tokens and the end, by the attention decoder.

    Arguments as for :func:`attention_rescoring`.
    """
    if getattr(model, "decoder", None) is None:
        raise ValueError(
            f"{type(model).__name__} has no attention decoder (was it trained with ctc_weight: 1?)"
        )
    lengths = lengths.to(hidden.device)

    def score(rows: Tensor, tokens: Tensor, sizes: Tensor) -> Tensor:
        frames = lengths[rows]
        encoded = hidden[rows, : int(frames.max())]
        return -model.nll(encoded, frames, tokens, sizes)

    return _in_batches(nbest, score, model.ignore_id, hidden.device, batch_size)


def nnlm_scores(
    nbest: Sequence[Sequence[Path]], nnlm: Any, batch_size: int = 100
) -> List[List[float]]:
    """Natural log probability of every path's tokens and the end, by an ESPnet language model.

    Arguments as for :func:`attention_rescoring`.
    """

    def score(rows: Tensor, tokens: Tensor, sizes: Tensor) -> Tensor:
        return -nnlm.nll(tokens, sizes)[0].sum(dim=1)

    # what follows a sentence's end in the batch does not count, whatever stands there
    return _in_batches(nbest, score, 0, next(nnlm.parameters()).device, batch_size)


@torch.no_grad()
def _in_batches(
    nbest: Sequence[Sequence[Path]],
    score: Callable[[Tensor, Tensor, Tensor], Tensor],
    padding: int,
    device: torch.device,
    batch_size: int,
) -> List[List[float]]:
    """Score each distinct token sequence of each utterance once, in batches of like length."""
    if batch_size < 1:
        raise ValueError(f"the batch size must be 1 or above, not {batch_size}")
    distinct = {(i, path.tokens) for i, paths in enumerate(nbest) for path in paths}
    ordered = sorted(distinct, key=lambda pair: (len(pair[1]), pair))
    scores: Dict[Tuple[int, Tokens], float] = {}
    for begin in range(0, len(ordered), batch_size):
        some = ordered[begin : begin + batch_size]
        sizes = torch.tensor([len(tokens) for _, tokens in some])
        batch = torch.full((len(some), int(sizes.max())), padding, dtype=torch.int64)
        for k, (_, tokens) in enumerate(some):
            batch[k, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
        rows = torch.tensor([i for i, _ in some], device=device)
        values = score(rows, batch.to(device), sizes.to(device))
        scores.update(zip(some, values.double().tolist(), strict=True))
    return [[scores[i, path.tokens] for path in paths] for i, paths in enumerate(nbest)]
