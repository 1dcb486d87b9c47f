"""``filtered_wav2vec_ctc``: wav2vec 2.0 without its abnormal blocks, fine-tuned with CTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairseq.models import register_model
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc, Wav2VecEncoder

from espnet_plugin.fairseq_models.filter import filterable
from espnet_plugin.fairseq_models.options import FilterOptions, obtain_plan


@dataclass
class FilteredWav2VecCtcConfig(FilterOptions, Wav2Vec2CtcConfig):
    """fairseq's options of fine-tuning, and those of the filter.

    ``w2v_path`` names a checkpoint of wav2vec2 or of filtered_wav2vec2; of the latter the plan
    counts the blocks that are left.
    """


@register_model("filtered_wav2vec_ctc", dataclass=FilteredWav2VecCtcConfig)
class FilteredWav2VecCtc(Wav2VecCtc):
    """fairseq's CTC model, its encoder edited as soon as it is loaded."""

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> FilteredWav2VecCtc:
        """The model that the options ask for, its encoder from ``w2v_path``.

        A checkpoint of this model has the options of pre-training in it; it needs no other file.
        """
        wrapped = Wav2VecEncoder(cfg, len(task.target_dictionary))
        encoder = filterable(wrapped.w2v_model)
        encoder.filter(obtain_plan(cfg, len(encoder.stack.blocks)))
        return cls(cfg, wrapped)
