"""Which of the papers' findings hold for a model, from the files of its analysis.

Each finding becomes one difference with a 95 % bootstrap interval over utterances; how a
sentence of a paper becomes a difference is our reading [I]. It holds where the interval lies above
zero, does not hold where it lies below, and is undecided else.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from espnet_plugin.analysis.sums.resample import draw_counts, interval, mean_intervals
from espnet_plugin.report.analyses import Analysis

_SHIM = "Shim, Choi, Sung, ICLR 2022"
_YANG = "Yang, Liu, Lee, Interspeech 2020"
_DORSZEWSKI = "Dorszewski et al., ICASSP 2025"


class Finding(NamedTuple):
    """A paper's sentence, and what a model says to it."""

    claim: str
    source: str
    verdict: str
    """holds, does not hold or undecided."""
    figures: str
    """One line: the difference, its interval and what it is of."""


def findings(analysis: Analysis, curves: Sequence[Dict[str, Any]] = ()) -> List[Finding]:
    """What an analysis says to each finding that it has the measures for.

    Args:
        analysis: of one model.
        curves: contents of ``ranking.json`` of ``bin.rank_heads`` among others, for the importance
            of heads.
    """
    found = [finding for content in curves for finding in _importance(content)]
    made = (make(analysis) for name, make in _MADE_FROM if name in analysis.results)
    return found + [finding for finding in made if finding is not None]


def rankings_of(analysis: Analysis, contents: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Those of ``contents`` that are a ``ranking.json`` of the analysed model."""
    ours = analysis.model.get("sha256")
    return [one for one in contents if "orders" in one and one["model"].get("sha256") == ours]


def table(found: Sequence[Finding]) -> List[str]:
    """The findings as lines of a Markdown table."""
    lines = ["|finding|source|here|figures|", "|---|---|---|---|"]
    return lines + [f"|{f.claim}|{f.source}|{f.verdict}|{f.figures}|" for f in found]


def verdict(interval: Sequence[float]) -> str:
    """Of the 95 % interval of a difference that is claimed to be above zero."""
    low, high = interval
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def _importance(ranking: Dict[str, Any]) -> List[Finding]:
    """Heads pruned in the order of a measure: the mean rise of the error rate over the curve."""
    found = []
    for contrast in ranking.get("contrasts", ()):
        more, less = contrast["more"], contrast["less"]
        for name, value in contrast["measures"].items():
            figures = f"mean rise over the curve {_difference(value)} points"
            claim = f"pruning heads by {more} first costs more than by {less} first: {name} errors"
            found.append(Finding(claim, _YANG, verdict(value["interval_95"]), figures))
    return found


def _phonetic(analysis: Analysis) -> Optional[Finding]:
    """Attention to other segments of the same phone, lower half of the blocks less upper half."""
    arrays = analysis.arrays("phoneme_attention")
    same = arrays["values"][:, :, arrays["kinds"].tolist().index("same")]
    per_block = _by_block(same, arrays["block"])
    lower, upper = _halves(per_block.shape[1])
    difference = _mean(per_block[:, lower]) - _mean(per_block[:, upper])
    return _finding(
        "lower blocks attend to the same phone more than upper ones do (phonetic localisation)",
        _SHIM,
        difference,
        "attention to the same phone elsewhere (1: uniform), lower half less upper half of blocks",
    )


def _diagonal(analysis: Analysis) -> Optional[Finding]:
    """CAD of the block's mean map, which is the mean CAD of its heads: upper half less lower."""
    arrays = analysis.arrays("patterns")
    cad = (arrays["scores"][:, :, 2] + 2) / 3
    lower, upper = _halves(cad.shape[1])
    difference = _mean(cad[:, upper]) - _mean(cad[:, lower])
    return _finding(
        "upper blocks are more diagonal than lower ones (linguistic localisation)",
        _SHIM,
        difference,
        "CAD, upper half less lower half of blocks",
    )


def _blocks_of_states(analysis: Analysis) -> Optional[Finding]:
    """A partition of the states stands out from a matrix that decays alike but has no parts."""
    structure = analysis.results["similarity"]["structure"].get("linear_cka")
    if structure is None:
        return None
    parts, chance = structure["parts"], structure["p_value"]
    starts = ", ".join(f"{start}" for start in structure["starts"])
    figures = f"linear CKA: {parts} part{'s' if parts > 1 else ''}"
    figures += f" (beginning at states {starts})" if parts > 1 else ""
    return Finding(
        "hidden states fall into blocks of similar ones (two processing steps)",
        _DORSZEWSKI,
        "holds" if parts > 1 else "undecided",
        f"{figures}; p = {chance:.3f} against a matrix of the same decay without parts",
    )


def _phones_by_depth(analysis: Analysis) -> Optional[Finding]:
    """The best of the lower and middle blocks less the best of the upper third, in each draw."""
    arrays = analysis.arrays("phone_probe")
    correct, total = arrays["correct"][:, 1:], arrays["total"]
    blocks = correct.shape[1]
    upper = blocks // 3
    if not upper or not total.sum():
        return None
    counts = np.concatenate([np.ones((1, len(total))), *draw_counts(len(total), 1000, 0)])
    frames = counts @ total
    rates = 100 * (counts @ correct)[frames > 0] / frames[frames > 0, None]
    difference = rates[:, : blocks - upper].max(axis=1) - rates[:, blocks - upper :].max(axis=1)
    span = tuple(interval(difference[1:]))
    figures = _difference({"difference": difference[0], "interval_95": span})
    return Finding(
        "phones are read best from lower and middle blocks",
        _SHIM,
        verdict(span),
        f"frames right, best of the lower {blocks - upper} blocks (block "
        f"{int(rates[0, : blocks - upper].argmax())}) less best of the upper {upper}: "
        f"{figures} points",
    )


def _finding(claim: str, source: str, difference: np.ndarray, of: str) -> Optional[Finding]:
    there = difference[~np.isnan(difference)]
    if not len(there):
        return None
    mean, low, high = (float(value) for value in mean_intervals(there))
    figures = f"{of}: {_difference({'difference': mean, 'interval_95': (low, high)})}"
    return Finding(claim, source, verdict((low, high)), figures)


def _difference(value: Dict[str, Any]) -> str:
    low, high = value["interval_95"]
    return f"{value['difference']:+.3g} ({low:+.3g} to {high:+.3g})"


def _by_block(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    """(U, heads) to (U, blocks): means over the heads of a block that have a value."""
    return np.stack([_mean(values[:, block == number]) for number in np.unique(block)], axis=1)


def _mean(values: np.ndarray) -> np.ndarray:
    """Of rows, over what is there; NaN where nothing is."""
    there = ~np.isnan(values)
    counts = there.sum(axis=1)
    sums = np.where(there, values, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def _halves(blocks: int) -> Tuple[slice, slice]:
    """Lower and upper half; a block in the middle belongs to neither, nor does a single one."""
    half = blocks // 2
    return slice(0, half), slice(blocks - half, blocks)


_MADE_FROM: Sequence[Tuple[str, Callable[[Analysis], Optional[Finding]]]] = (
    ("phoneme_attention", _phonetic),
    ("patterns", _diagonal),
    ("similarity", _blocks_of_states),
    ("phone_probe", _phones_by_depth),
)
