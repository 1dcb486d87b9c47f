"""Our search beside ESPnet's and flashlight's, on the same posteriors in one process.

    python tools/bench/search.py --exp_dir exp/asr_conformer --data_dir dump/raw/test \\
        --graph exp/graphs/HLG.pt --lang_dir data/lang_bpe --arpa data/lm/3gram.arpa

CTC: the functions of ``espnet2.bin.asr_inference_k2`` as its decoder class calls them, one
utterance at a time (ESPnet's default) and batched, beside ours; with ESPnet's beams the
hypotheses must be the same.

HLG (with --graph): the lexicon decoder of flashlight-text with KenLM, the same lexicon and the same
ARPA, beside ours. Each side first takes the weight of the n-gram model and the word score with the
fewest errors in wide beams (on these very posteriors), then both run through their beams.
The comparison: for each WER of ours that no faster setting reaches, the fastest flashlight setting
with as few errors, and the other way round.

Times are the encoder's output to words. ``rtf`` is the clock's, ``processor`` the processor
seconds of all threads per second of speech: on a machine with other work only the latter counts.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Callable, Dict, List

import k2
import torch
from bench_results import add_output_option, markdown_table, use_cores, write_results
from espnet2.bin.asr_inference_k2 import build_ctc_topo, get_texts
from flashlight_search import FlashlightSearch, Options
from stored_posteriors import Posteriors, compute, error_rate
from torch import Tensor

from espnet_plugin.decode import Beams, best_paths, ctc_topology, find_lattices
from espnet_plugin.decode.graph import Graph
from espnet_plugin.decode.lang import LangDir
from espnet_plugin.decode.scales import Scales

Words = Dict[str, List[str]]
Search = Callable[[], Dict[str, List[Any]]]
Row = Dict[str, Any]

ESPNET_BEAMS = Beams(search_beam=20, output_beam=20, min_active_states=30, max_active_states=10000)
WEIGHTS = (0.4, 0.6, 0.8, 1.0, 1.3, 1.6)
WORD_SCORES = (0.0, 1.0, 2.0)
WIDE = (Beams(20, 1, 30, 3000), Options(beam_size=100, beam_size_token=20, beam_threshold=25))
OUR_BEAMS = [
    Beams(),
    *(Beams(s, 1, least, most) for s, (least, most) in product(
        (8, 10, 12, 14, 16, 20), ((0, 3000), (30, 3000))
    )),
]  # fmt: skip
THEIR_BEAMS = [
    Options(size, tokens, threshold)
    for size, tokens, threshold in product((5, 10, 20, 30, 50, 100), (8, 20), (12.0, 16.0, 25.0))
] + [Options(500, 50, 25.0)]


def espnet_search(graph: k2.Fsa, log_probs: Tensor, lengths: Tensor) -> List[List[int]]:
    """What ESPnet's decoder class does between the CTC head and the tokenizer."""
    segments = torch.stack([torch.arange(len(lengths)), torch.zeros_like(lengths), lengths], dim=1)
    dense = k2.DenseFsaVec(log_probs, segments.to(torch.int32))
    lattices = k2.intersect_dense_pruned(graph, dense, 20, 20, 30, 10000)
    paths = k2.shortest_path(lattices, use_double_scores=True)
    paths.get_tot_scores(use_double_scores=True, log_semiring=False)
    return get_texts(paths)


def espnet_arm(posteriors: Posteriors, graph: k2.Fsa, one_by_one: bool) -> Dict[str, List[int]]:
    found = {}
    for log_probs, lengths, names in posteriors.batches:
        if not one_by_one:
            found.update(zip(names, espnet_search(graph, log_probs, lengths), strict=True))
            continue
        for i, size in enumerate(lengths.tolist()):
            one = espnet_search(graph, log_probs[i : i + 1, :size], lengths[i : i + 1])
            found[names[i]] = one[0]
    return found


def our_arm(
    posteriors: Posteriors, graph: k2.Fsa, beams: Beams, scales: Scales | None = None
) -> Dict[str, List[int]]:
    found: Dict[str, List[int]] = {}
    for log_probs, lengths, names in posteriors.batches:
        lattices = find_lattices(graph, log_probs, lengths, beams, scales=scales)
        found.update({name: [] for name in names})
        if lattices.fsa is not None:
            paths = best_paths(lattices.fsa)[0]
            found.update({names[i]: p for i, p in zip(lattices.utterances, paths, strict=True)})
    return found


def measure(arms: Dict[str, Search], seconds: float, repeats: int) -> Dict[str, Row]:
    """All arms in turn, ``repeats`` times after one round to warm up; medians."""
    times: Dict[str, List[float]] = {name: [] for name in arms}
    processor: Dict[str, List[float]] = {name: [] for name in arms}
    for turn in range(repeats + 1):
        for name, arm in arms.items():
            start, busy = time.perf_counter(), time.process_time()
            arm()
            if turn > 0 or repeats == 0:
                times[name].append((time.perf_counter() - start) / seconds)
                processor[name].append((time.process_time() - busy) / seconds)
    return {n: {"rtf": median(times[n]), "processor": median(processor[n])} for n in arms}


def compare_ctc(posteriors: Posteriors, repeats: int) -> List[Row]:
    """Our CTC search and ESPnet's.

    Raises:
        AssertionError: hypotheses differ with the same beams.
    """
    theirs = k2.arc_sort(build_ctc_topo(list(range(posteriors.vocab_size))))
    standard = ctc_topology(posteriors.vocab_size)
    modified = ctc_topology(posteriors.vocab_size, "modified")
    arms: Dict[str, Search] = {
        "ESPnet, one by one": lambda: espnet_arm(posteriors, theirs, True),
        "ESPnet, batches": lambda: espnet_arm(posteriors, theirs, False),
        "ours, ESPnet's beams": lambda: our_arm(posteriors, standard, ESPNET_BEAMS),
        "ours": lambda: our_arm(posteriors, standard, Beams()),
        "ours, modified topology": lambda: our_arm(posteriors, modified, Beams()),
    }
    expected = arms["ESPnet, one by one"]()
    for name in ("ESPnet, batches", "ours, ESPnet's beams", "ours"):
        differing = [n for n, ids in arms[name]().items() if ids != expected[n]]
        if differing:
            raise AssertionError(f"{name}: {len(differing)} hypotheses differ: {differing[:5]}")
    rows = measure(arms, posteriors.seconds, repeats)
    first = rows["ESPnet, one by one"]["processor"]
    return [
        {"search": n, **row, "times as fast": first / row["processor"]} for n, row in rows.items()
    ]


def compare_hlg(
    posteriors: Posteriors, graph: Graph, lang: LangDir, arpa: str, repeats: int
) -> Dict[str, Any]:
    """Our HLG search and flashlight's: weights, curves and the comparison at equal errors."""
    assert graph.words is not None
    words = graph.words

    def ours(beams: Beams, weight: float, word_score: float) -> Words:
        # the weight of the n-gram model as a weight of the posteriors; beams are in its units
        scales = Scales(acoustic=1.0 / weight, word=word_score / weight)
        found = our_arm(posteriors, graph.fsa, beams, scales)
        return {name: [words[i] for i in labels] for name, labels in found.items()}

    flashlight = FlashlightSearch(lang.lexicon, posteriors.vocab_size, arpa)
    one_by_one = posteriors.one_by_one()

    def wer(found: Words) -> float:
        return error_rate(posteriors.references, found)

    tried = list(product(WEIGHTS, WORD_SCORES))
    our_weights = min(tried, key=lambda pair: wer(ours(WIDE[0], *pair)))
    their_weights = min(
        tried,
        key=lambda pair: wer(
            flashlight.search(one_by_one, replace(WIDE[1], lm_weight=pair[0], word_score=pair[1]))
        ),
    )
    curves = {}
    our_arms = {str(_values(b)): lambda b=b: ours(b, *our_weights) for b in OUR_BEAMS}
    their_arms = {
        str(_values(o)[:3]): lambda o=o: flashlight.search(
            one_by_one, replace(o, lm_weight=their_weights[0], word_score=their_weights[1])
        )
        for o in THEIR_BEAMS
    }
    times = measure({**our_arms, **their_arms}, posteriors.seconds, repeats)
    for side, arms in (("ours", our_arms), ("flashlight", their_arms)):
        curves[side] = [{"beams": n, "WER": wer(arm()), **times[n]} for n, arm in arms.items()]
    return {
        "weights": {"ours": our_weights, "flashlight": their_weights},
        "curves": curves,
        "at equal or better WER": [
            *at_equal_errors("ours", "flashlight", curves),
            *at_equal_errors("flashlight", "ours", curves),
        ],
    }


def frontier(points: List[Row]) -> List[Row]:
    """The points that no other beats in both WER and time, the fastest first."""
    kept: List[Row] = []
    for point in sorted(points, key=lambda p: (p["processor"], p["WER"])):
        if not kept or point["WER"] < kept[-1]["WER"]:
            kept.append(point)
    return kept


def at_equal_errors(side: str, other: str, curves: Dict[str, List[Row]]) -> List[Row]:
    """For each point of ``side``'s frontier the fastest one of ``other`` with no more errors."""
    rows = []
    for point in frontier(curves[side]):
        rivals = [p for p in curves[other] if p["WER"] <= point["WER"]]
        best = min(rivals, key=lambda p: p["processor"], default=None)
        mine, theirs = point["processor"], best["processor"] if best else None
        pair = {side: mine, other: theirs}
        rows.append(
            {
                "WER to reach": point["WER"],
                "of": side,
                "ours": pair["ours"] if pair["ours"] is not None else "not reached",
                "flashlight": pair["flashlight"] if theirs or side != "ours" else "not reached",
                "times as fast": pair["flashlight"] / pair["ours"] if best else "–",
            }
        )
    return rows


def _values(settings: Beams | Options) -> tuple[Any, ...]:
    return tuple(asdict(settings).values())


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exp_dir", help="an ESPnet experiment; with --data_dir")
    parser.add_argument("--data_dir", help="Kaldi directory with wav.scp and text")
    parser.add_argument("--bpemodel", help="instead of the one that the experiment names")
    parser.add_argument("--utterances", type=int, default=10**9, help="the first ones only")
    parser.add_argument("--posteriors", help="file to keep posteriors in, or to read them from")
    parser.add_argument("--graph", help="HLG of compile_graph; without it CTC alone is compared")
    parser.add_argument("--lang_dir", help="language directory of the graph")
    parser.add_argument("--arpa", help="the n-gram model of the graph")
    parser.add_argument("--no_ctc", action="store_true", help="leave out the CTC comparison")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=1, help="for all threads of either side")
    add_output_option(parser)
    return parser


def load_posteriors(args: argparse.Namespace) -> Posteriors:
    if args.posteriors is not None and Path(args.posteriors).is_file():
        return Posteriors.load(args.posteriors)
    if args.exp_dir is None or args.data_dir is None:
        raise SystemExit("search: name --exp_dir and --data_dir, or a file of --posteriors")
    made = compute(args.exp_dir, args.data_dir, args.utterances, bpemodel=args.bpemodel)
    if args.posteriors is not None:
        made.save(args.posteriors)
    return made


def main() -> None:
    args = get_parser().parse_args()
    use_cores(args.cores)
    posteriors = load_posteriors(args)
    results: Dict[str, Any] = {
        "options": vars(args),
        "utterances": len(posteriors.references),
        "seconds": posteriors.seconds,
        "tokens": posteriors.vocab_size,
    }
    if not args.no_ctc:
        results["ctc"] = compare_ctc(posteriors, args.repeats)
        print(markdown_table(results["ctc"]), end="\n\n")
    if args.graph is not None:
        graph, lang = Graph.load(args.graph), LangDir.load(args.lang_dir)
        results["hlg"] = compare_hlg(posteriors, graph, lang, args.arpa, args.repeats)
        print("weights:", results["hlg"]["weights"], end="\n\n")
        for curve in results["hlg"]["curves"].values():
            print(markdown_table(curve), end="\n\n")
        print(markdown_table(results["hlg"]["at equal or better WER"]))
    write_results(args.output, results)


if __name__ == "__main__":
    main()
