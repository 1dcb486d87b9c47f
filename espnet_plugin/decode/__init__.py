"""Decoding of CTC models with k2: posteriors, topology, lattices, 1-best.

>>> from espnet_plugin.decode import CtcDecoder
>>> decoder = CtcDecoder.from_experiment("exp/asr_reuse_conformer")
>>> decoder([waveform])[0].text

The names below are imported when they are used first (PEP 562), so commands that need only
graphs or stored lattices start without ESPnet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espnet_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from espnet_plugin.decode.decoder import CtcDecoder
    from espnet_plugin.decode.graph.topology import TOPOLOGIES, ctc_topology
    from espnet_plugin.decode.greedy import greedy_search
    from espnet_plugin.decode.hypothesis import Decoded, Hypothesis
    from espnet_plugin.decode.lattice import Beams, Lattices
    from espnet_plugin.decode.methods import METHODS
    from espnet_plugin.decode.posteriors import ctc_posteriors
    from espnet_plugin.decode.retries import find_lattices
    from espnet_plugin.decode.scales import Scales, set_scores
    from espnet_plugin.decode.search import best_paths, best_paths_in_parts, total_scores
    from espnet_plugin.decode.store import LatticeStore, LatticeWriter, iter_lattices, load_lattice

__all__ = [
    "METHODS",
    "TOPOLOGIES",
    "Beams",
    "CtcDecoder",
    "Decoded",
    "Hypothesis",
    "LatticeStore",
    "LatticeWriter",
    "Lattices",
    "Scales",
    "best_paths",
    "best_paths_in_parts",
    "ctc_posteriors",
    "ctc_topology",
    "find_lattices",
    "greedy_search",
    "iter_lattices",
    "load_lattice",
    "set_scores",
    "total_scores",
]

__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "decoder": ("CtcDecoder",),
        "graph.topology": ("TOPOLOGIES", "ctc_topology"),
        "greedy": ("greedy_search",),
        "hypothesis": ("Decoded", "Hypothesis"),
        "lattice": ("Beams", "Lattices"),
        "methods": ("METHODS",),
        "posteriors": ("ctc_posteriors",),
        "retries": ("find_lattices",),
        "scales": ("Scales", "set_scores"),
        "search": ("best_paths", "best_paths_in_parts", "total_scores"),
        "store": ("LatticeStore", "LatticeWriter", "iter_lattices", "load_lattice"),
    },
)
