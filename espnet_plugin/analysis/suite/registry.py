"""The measures of the analysis suite, by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Sequence

if TYPE_CHECKING:
    from espnet_plugin.analysis.suite.measure import Context, Measure


class Entry(NamedTuple):
    """Where a measure is made."""

    make: str
    """"module:function" of one that takes a :class:`Context`."""
    help: str
    """One line."""
    default: bool = True
    """Whether it is measured where no measures are named."""
    aligned: bool = False
    """Whether it needs phone alignments; a default one is left out without them."""


_HERE = "espnet_plugin.analysis"

MEASURES: Dict[str, Entry] = {
    "attention": Entry(
        f"{_HERE}.maps.map_measures:make_attention",
        "globalness, verticality, diagonality, … of each head",
    ),
    "map_similarity": Entry(
        f"{_HERE}.maps.map_measures:make_similarity",
        "Jensen–Shannon similarity of the blocks' maps",
    ),
    "patterns": Entry(
        f"{_HERE}.blocks.block_pattern:make",
        "what the attention of each block looks like, with intervals",
    ),
    "similarity": Entry(
        f"{_HERE}.states.similarity_measure:make",
        "cosine, CKA and mutual k-NN of all pairs of states",
    ),
    "examples": Entry(
        f"{_HERE}.examples.examples:make",
        "utterances to look at: every map as a picture, sound, phones",
    ),
    "relation": Entry(
        f"{_HERE}.phonemes.relation_measure:make",
        "which phonemes each head prefers at which (phoneme relation maps)",
        aligned=True,
    ),
    "phoneme_attention": Entry(
        f"{_HERE}.phonemes.phoneme_attention_measure:make",
        "attention to frames of the same and of similar phonemes elsewhere",
        aligned=True,
    ),
    "segmentation": Entry(
        f"{_HERE}.phonemes.segmentation_measure:make",
        "phone boundaries from the rows of each head's maps: R-value against MFCC",
        default=False,
        aligned=True,
    ),
    "phone_probe": Entry(
        f"{_HERE}.probes.probe_measures:make_phone",
        "phones by frame, read linearly from each state",
        aligned=True,
    ),
    "word_probe": Entry(
        f"{_HERE}.probes.probe_measures:make_word",
        "single words by utterance, read linearly",
        default=False,
    ),
    "speaker_probe": Entry(
        f"{_HERE}.probes.probe_measures:make_speaker",
        "speakers by utterance, read linearly",
        default=False,
    ),
}
"""Name on the command line -> where it is made."""


def default_measures(aligned: bool) -> List[str]:
    """The measures of a run that names none.

    Args:
        aligned: whether there are phone alignments.
    """
    return [name for name, e in MEASURES.items() if e.default and (aligned or not e.aligned)]


def make_measures(names: Sequence[str], context: Context) -> List[Measure]:
    """The measures, in the order of the registry.

    Raises:
        ValueError: a name that is not known, or given twice; a measure that needs alignments
            where there are none.
    """
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"no measure {name!r} (there are {', '.join(MEASURES)})")
        if names.count(name) > 1:
            raise ValueError(f"the measure {name} is given twice")
        if MEASURES[name].aligned and context.alignments is None:
            raise ValueError(f"the measure {name} needs phone alignments; give --alignments")
    made = []
    for name in MEASURES:
        if name in names:
            module, function = MEASURES[name].make.split(":")
            made.append(getattr(import_module(module), function)(context))
    return made
