"""CTC posteriors of an ESPnet model, whatever its encoder returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Tuple

import torch
from torch import Tensor

from espnet_plugin.compat import TooShortUttError

# Padding gives an utterance that is too short for the encoder up to this many frames.
FEW_FRAMES = 4


@dataclass(frozen=True)
class Encoded:
    """A batch after the encoder.

    Attributes:
        log_probs: (B, T, V) float32 CTC log posteriors.
        lengths: (B,) int64 numbers of valid frames, on the CPU: 0 for an utterance that is too
            short for the encoder's subsampling, also among longer ones.
        hidden: (B, T, D) the encoder's output, which an attention decoder reads.
    """

    log_probs: Tensor
    lengths: Tensor
    hidden: Tensor


def encode_speech(model: Any, speech: Tensor, lengths: Tensor, blank_bias: float = 0.0) -> Encoded:
    """Encoder output and CTC log posteriors of an ESPnet ASR model.

    Args:
        model: an ``ESPnetASRModel`` in evaluation mode, with a CTC head.
        speech: (B, S) waveforms or (B, L, D) features, padded, on the model's device.
        lengths: (B,) valid samples or feature frames.
        blank_bias: added to the blank's log posterior, as ESPnet's option of that name.

    Raises:
        ValueError: if the model has no CTC head.
    """
    if getattr(model, "ctc", None) is None:
        raise ValueError(
            f"{type(model).__name__} has no CTC head (was it trained with ctc_weight: 0?)"
        )
    hidden, log_probs, frames = _encode(model, speech, lengths)
    if len(lengths) > 1:
        for i in torch.nonzero(frames <= FEW_FRAMES).flatten().tolist():
            size = int(lengths[i])
            alone = _encode(model, speech[i : i + 1, :size], lengths[i : i + 1])
            frames[i] = alone[2][0]
            hidden[i, : alone[0].size(1)] = alone[0][0]
            log_probs[i, : alone[1].size(1)] = alone[1][0]
    log_probs[:, :, 0] += blank_bias
    return Encoded(log_probs, frames, hidden)


def ctc_posteriors(
    model: Any, speech: Tensor, lengths: Tensor, blank_bias: float = 0.0
) -> Tuple[Tensor, Tensor]:
    """(B, T, V) log posteriors and (B,) lengths, as of :func:`encode_speech`."""
    encoded = encode_speech(model, speech, lengths, blank_bias)
    return encoded.log_probs, encoded.lengths


@torch.no_grad()
def _encode(model: Any, speech: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    if int(lengths.max()) < shortest_input(model):
        return _no_frames(model, len(lengths), speech.device)
    try:
        encoded, frames = model.encode(speech, lengths)
    except TooShortUttError:
        return _no_frames(model, len(lengths), speech.device)
    if isinstance(encoded, tuple):  # intermediate CTC: (last output, [(block, output), …])
        encoded = encoded[0]
    log_probs = torch.log_softmax(model.ctc.ctc_lo(encoded).float(), dim=-1)
    return encoded, log_probs, frames.to("cpu", torch.int64).clamp(max=log_probs.size(1))


def _no_frames(model: Any, batch: int, device: torch.device) -> Tuple[Tensor, Tensor, Tensor]:
    head = model.ctc.ctc_lo
    hidden = torch.zeros(batch, 0, head.in_features, device=device)
    log_probs = torch.zeros(batch, 0, head.out_features, device=device)
    return hidden, log_probs, torch.zeros(batch, dtype=torch.int64)


def shortest_input(model: Any) -> int:
    """The fewest samples that the model's frontend accepts (1 where it has no limit).

    A centred Fourier transform reflects half a window at the edges, so it needs more samples
    than that.
    """
    stft = getattr(getattr(model, "frontend", None), "stft", None)
    return stft.n_fft // 2 + 1 if stft is not None and getattr(stft, "center", False) else 1
