"""Our k2 CTC decoding beside ESPnet's own, on the same posteriors.

Times the construction of the CTC topology, and the search from posteriors to token numbers with
the beams of ESPnet's command. ESPnet's side runs the functions of ``espnet2.bin.asr_inference_k2``
with k2 as its decoder class does, one utterance at a time and as one batch.

    python tools/bench/k2_ctc.py --output benchmark.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import median

import k2
import torch
from espnet2.bin.asr_inference_k2 import build_ctc_topo, get_texts
from torch import Tensor

from espnet_plugin.decode import Beams, best_paths, ctc_topology, find_lattices
from espnet_plugin.stacks.timing import interleaved_seconds, median_ratio

ESPNET_BEAMS = Beams(search_beam=20, output_beam=20, min_active_states=30, max_active_states=10000)


def speech_like(batch: int, frames: int, vocab: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Peaky posteriors, as of a well trained CTC model: mostly blank, a token every five frames."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, frames, vocab, generator=generator)
    logits[..., 0] += 24.0
    tokens = torch.randint(1, vocab, (batch, frames // 5), generator=generator)
    rows = torch.arange(batch)[:, None]
    logits[rows, torch.arange(frames // 5)[None] * 5 + 2, tokens] += 30.0
    lengths = torch.linspace(frames, frames // 2, batch).long()
    return torch.log_softmax(logits, dim=-1), lengths


def espnet_search(graph: k2.Fsa, log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """What ESPnet's decoder class does between the CTC head and the tokenizer."""
    segments = torch.stack([torch.arange(len(lengths)), torch.zeros_like(lengths), lengths], dim=1)
    dense = k2.DenseFsaVec(log_probs, segments.to(torch.int32))
    lattices = k2.intersect_dense_pruned(graph, dense, 20, 20, 30, 10000)
    paths = k2.shortest_path(lattices, use_double_scores=True)
    paths.get_tot_scores(use_double_scores=True, log_semiring=False)
    return get_texts(paths)


def our_search(graph: k2.Fsa, log_probs: Tensor, lengths: Tensor, beams: Beams) -> list[list[int]]:
    lattices = find_lattices(graph, log_probs, lengths, beams)
    labels: list[list[int]] = [[] for _ in range(len(lengths))]
    for i, one in zip(lattices.utterances, best_paths(lattices.fsa)[0], strict=True):
        labels[i] = one
    return labels


def one_by_one(search, graph: k2.Fsa, log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """``search`` on every utterance by itself."""
    return [
        search(graph, log_probs[i : i + 1, :n], lengths[i : i + 1])[0]
        for i, n in enumerate(lengths.tolist())
    ]


def topologies(vocab: int, repeats: int, espnet_limit: int) -> dict[str, float]:
    calls = {
        "ours standard": lambda: ctc_topology(vocab),
        "ours modified": lambda: ctc_topology(vocab, "modified"),
    }
    if vocab <= espnet_limit:
        calls = {"espnet": lambda: k2.arc_sort(build_ctc_topo(list(range(vocab)))), **calls}
        repeats = min(repeats, 2) if vocab > 1000 else repeats
    times = interleaved_seconds(calls, repeats)
    return {name: median(one) for name, one in times.items()}


def searches(vocab: int, batch: int, frames: int, repeats: int) -> dict[str, dict[str, float]]:
    log_probs, lengths = speech_like(batch, frames, vocab)
    graph, small = ctc_topology(vocab), ctc_topology(vocab, "modified")

    def ours(g: k2.Fsa, p: Tensor, n: Tensor) -> list[list[int]]:
        return our_search(g, p, n, ESPNET_BEAMS)

    expected = one_by_one(espnet_search, graph, log_probs, lengths)
    for batched in (espnet_search, ours):
        if batched(graph, log_probs, lengths) != expected:
            raise AssertionError(f"{batched.__name__} differs from ESPnet's hypotheses")
    calls = {
        "espnet, one by one": lambda: one_by_one(espnet_search, graph, log_probs, lengths),
        "espnet, one batch": lambda: espnet_search(graph, log_probs, lengths),
        "ours, one batch, espnet's beams": lambda: ours(graph, log_probs, lengths),
        "ours, one batch": lambda: our_search(graph, log_probs, lengths, Beams()),
        "ours, one batch, modified": lambda: our_search(small, log_probs, lengths, Beams()),
    }
    times = interleaved_seconds(calls, repeats)
    first = next(iter(times.values()))
    speech = 0.04 * int(lengths.sum())
    return {
        name: {"seconds": median(t), "rtf": median(t) / speech, "ratio": median_ratio(first, t)}
        for name, t in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab", nargs="+", type=int, default=[500, 2000, 5000])
    parser.add_argument("--search_vocab", nargs="+", type=int, default=[500, 2000])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=375, help="of 40 ms, the longest utterance")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--espnet_limit", type=int, default=2000, help="largest V for its string")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    result: dict[str, dict] = {"topology": {}, "search": {}}
    for vocab in args.vocab:
        result["topology"][vocab] = topologies(vocab, args.repeats, args.espnet_limit)
        print(f"topology V={vocab}", result["topology"][vocab], file=sys.stderr, flush=True)
    for vocab in args.search_vocab:
        result["search"][vocab] = searches(vocab, args.batch, args.frames, args.repeats)
        print(f"search V={vocab}", result["search"][vocab], file=sys.stderr, flush=True)
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    text = json.dumps(result, indent=2)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
