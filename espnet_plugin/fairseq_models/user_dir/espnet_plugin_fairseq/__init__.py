"""fairseq's user directory: importing it registers filtered_wav2vec2 and filtered_wav2vec_ctc."""

from __future__ import annotations

from espnet_plugin.fairseq_models import ctc, pretraining

__all__ = ["ctc", "pretraining"]
