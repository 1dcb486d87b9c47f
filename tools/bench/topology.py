"""Time to build the CTC topology: ours, standard and modified, beside ESPnet's.

python tools/bench/topology.py --output topology.json
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any, Dict, List

import k2
from bench_results import add_output_option, markdown_table, use_cores, write_results
from espnet2.bin.asr_inference_k2 import build_ctc_topo

from espnet_plugin.decode.graph import ctc_topology
from espnet_plugin.stacks.timing import interleaved_seconds, median_ratio


def compare(vocab: int, repeats: int, espnet_limit: int) -> List[Dict[str, Any]]:
    """Medians of all in turn; ESPnet's, a string of V² arcs, up to V = ``espnet_limit``."""
    calls = {
        "standard": lambda: ctc_topology(vocab),
        "modified": lambda: ctc_topology(vocab, "modified"),
    }
    if vocab <= espnet_limit:
        # as its decoder class does: build_ctc_topo sorts already
        calls["ESPnet"] = lambda: k2.arc_sort(build_ctc_topo(list(range(vocab))))
    times = interleaved_seconds(calls, repeats)
    theirs = times.get("ESPnet")
    return [
        {
            "tokens": vocab,
            "topology": name,
            "seconds": median(own),
            "times as fast": median_ratio(theirs, own) if theirs else "–",
        }
        for name, own in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocab", nargs="+", type=int, default=[500, 2000, 5000])
    parser.add_argument("--espnet_limit", type=int, default=2000, help="largest V for its string")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    add_output_option(parser)
    args = parser.parse_args()
    use_cores(args.cores)
    rows = [row for vocab in args.vocab for row in compare(vocab, args.repeats, args.espnet_limit)]
    print(markdown_table(rows))
    write_results(args.output, {"options": vars(args), "topology": rows})


if __name__ == "__main__":
    main()
