"""ESPnet's default front end and normalisations in operations that ONNX has."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from espnet2.asr.frontend.default import DefaultFrontend
from espnet2.layers.global_mvn import GlobalMVN
from espnet2.layers.utterance_mvn import UtteranceMVN
from torch import Tensor, nn
from torch.nn.functional import pad

from espnet_plugin.compat import utterance_mvn_pads_with_zeros
from espnet_plugin.stacks.errors import StackError


class Stft(torch.autograd.Function):
    """``torch.stft`` without centring; the ONNX operator of that name, which tracing alone misses.

    In float64: the logarithm of a quiet band shows the rounding of a float32 transform.
    """

    @staticmethod
    def forward(ctx: Any, waveforms: Tensor, window: Tensor, hop: int) -> Tensor:
        """(B, N) and (n_fft,), float64, to (B, T, n_fft // 2 + 1, 2)."""
        spectrum = torch.stft(
            waveforms, len(window), hop, window=window, center=False, return_complex=True
        )
        return torch.view_as_real(spectrum).transpose(1, 2)

    @staticmethod
    def symbolic(g: Any, waveforms: Any, window: Any, hop: int) -> Any:
        """The operator STFT (opset 17)."""
        step = g.op("Constant", value_t=torch.tensor(hop))
        return g.op("STFT", waveforms, step, window, onesided_i=1)


class Spectrum(nn.Module):
    """What ``DefaultFrontend`` computes: the logarithm of a mel spectrum.

    Raises:
        StackError: an option that has no exportable form.
    """

    window: Tensor
    mel: Tensor

    def __init__(self, frontend: nn.Module) -> None:
        super().__init__()
        if type(frontend) is not DefaultFrontend:
            raise StackError(f"{type(frontend).__name__} cannot be exported, only ESPnet's default")
        stft: Any = frontend.stft
        mel: Any = frontend.logmel
        if stft is None or not stft.onesided or mel.log_base is not None:
            raise StackError("a front end without its own one-sided STFT cannot be exported")
        self.hop: int = stft.hop_length
        self.n_fft: int = stft.n_fft
        self.center: bool = stft.center
        window = torch.ones(stft.win_length, dtype=torch.float64)
        if stft.window is not None:
            window = getattr(torch, f"{stft.window}_window")(stft.win_length).double()
        before = (stft.n_fft - stft.win_length) // 2
        window = pad(window, (before, stft.n_fft - stft.win_length - before))
        if stft.normalized:
            window = window * stft.n_fft**-0.5
        self.register_buffer("window", window)
        self.register_buffer("mel", mel.melmat.float())

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        """(B, N) and (B,) samples to (B, T, mels) and (B,) frames."""
        waveforms = waveforms.double()
        if self.center:
            half = self.n_fft // 2
            waveforms = pad(waveforms.unsqueeze(1), (half, half), mode="reflect").squeeze(1)
            lengths = lengths + 2 * half
        spectrum = Stft.apply(waveforms, self.window, self.hop)
        power = spectrum.pow(2).sum(-1).float()
        mel = torch.matmul(power, self.mel).clamp(min=1e-10).log()
        lengths = torch.div(lengths - self.n_fft, self.hop, rounding_mode="floor") + 1
        return mel.masked_fill(absent(mel, lengths), 0.0), lengths


class GlobalNormalize(nn.Module):
    """``GlobalMVN``."""

    def __init__(self, normalize: GlobalMVN) -> None:
        super().__init__()
        self.means, self.vars = normalize.norm_means, normalize.norm_vars
        self.register_buffer("mean", normalize.mean.float())
        self.register_buffer("std", normalize.std.float())

    def forward(self, x: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        """(B, T, F) to the same, zero from ``lengths`` (B,) on."""
        if self.means:
            x = x - self.mean
        x = x.masked_fill(absent(x, lengths), 0.0)
        return (x / self.std if self.vars else x), lengths


class UtteranceNormalize(nn.Module):
    """``UtteranceMVN``."""

    def __init__(self, normalize: UtteranceMVN) -> None:
        super().__init__()
        self.means, self.vars, self.eps = normalize.norm_means, normalize.norm_vars, normalize.eps

    def forward(self, x: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        """(B, T, F) to the same."""
        gone = absent(x, lengths)
        count = lengths[:, None, None].to(x.dtype)
        x = x.masked_fill(gone, 0.0)
        centred = x - x.sum(1, keepdim=True) / count
        if not self.means or utterance_mvn_pads_with_zeros():
            centred = centred.masked_fill(gone, 0.0)
        if self.means:
            x = centred
        if self.vars:
            variance = centred.pow(2).sum(1, keepdim=True) / count
            x = x / variance.sqrt().clamp(min=self.eps)
        return x, lengths


def absent(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, 1), true where (B, T, F) is padding."""
    return (torch.arange(x.size(1), device=x.device) >= lengths[:, None]).unsqueeze(-1)


def exportable_normalize(normalize: Optional[nn.Module]) -> Optional[nn.Module]:
    """The form of ESPnet's ``normalize`` that can be traced.

    Raises:
        StackError: there is none.
    """
    if normalize is None:
        return None
    if type(normalize) is GlobalMVN:
        return GlobalNormalize(normalize)
    if type(normalize) is UtteranceMVN:
        return UtteranceNormalize(normalize)
    raise StackError(f"{type(normalize).__name__} cannot be exported")
