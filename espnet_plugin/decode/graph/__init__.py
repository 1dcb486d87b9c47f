"""Decoding graphs: the CTC topology H, a grammar G, and HL and HLG composed of them."""

from __future__ import annotations

from espnet_plugin.decode.graph.build import hl_graph, hlg_graph
from espnet_plugin.decode.graph.compile import compile_graph
from espnet_plugin.decode.graph.grammar import load_grammar
from espnet_plugin.decode.graph.graph import Graph, ctc_graph
from espnet_plugin.decode.graph.topology import TOPOLOGIES, ctc_topology

__all__ = [
    "TOPOLOGIES",
    "Graph",
    "compile_graph",
    "ctc_graph",
    "ctc_topology",
    "hl_graph",
    "hlg_graph",
    "load_grammar",
]
