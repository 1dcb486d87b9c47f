"""Error rates: alignment, counts, intervals, and tables in ESPnet's form."""

from __future__ import annotations

from espnet_plugin.score.counts import GAP, Counts, align, count_errors
from espnet_plugin.score.interval import bootstrap_interval, paired_interval
from espnet_plugin.score.sets import Scores, score_texts

__all__ = [
    "GAP",
    "Counts",
    "Scores",
    "align",
    "bootstrap_interval",
    "count_errors",
    "paired_interval",
    "score_texts",
]
