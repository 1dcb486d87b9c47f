"""``filtered_wav2vec2``: wav2vec 2.0 without its abnormal blocks, in fairseq's pre-training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.models import register_model
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

from espnet_plugin.fairseq_models.filter import filterable
from espnet_plugin.fairseq_models.options import FilterOptions, obtain_plan
from espnet_plugin.surgery.plan import BlockPlan


@dataclass
class FilteredWav2Vec2Config(FilterOptions, Wav2Vec2Config):
    """fairseq's options of wav2vec 2.0, and those of the filter."""


@register_model("filtered_wav2vec2", dataclass=FilteredWav2Vec2Config)
class FilteredWav2Vec2Model(Wav2Vec2Model):
    """fairseq's model with blocks that a plan edits.

    Chen, Asgari (2021, arXiv 2104.02851); Chen, Asgari, Dodge (ICASSP 2022).

    Args:
        cfg: see :class:`FilteredWav2Vec2Config`.
        plan: for the unedited model; None: no edits.
    """

    def __init__(self, cfg: Any, plan: Optional[BlockPlan] = None) -> None:
        super().__init__(cfg)
        filterable(self).filter(plan)

    @classmethod
    def build_model(cls, cfg: Any, task: Any = None) -> FilteredWav2Vec2Model:
        """The model that the options ask for."""
        return cls(cfg, obtain_plan(cfg, cfg.encoder_layers))
