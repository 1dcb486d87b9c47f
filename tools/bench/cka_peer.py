#!/usr/bin/env python3
"""Our similarity of hidden states beside torch_cka's, on the same features.

The hidden states of a base-size wav2vec 2.0 stack on real test-other recordings (see
analysis_base.py), cut into pieces of at most 512 frames. torch_cka takes the first axis for the
samples, so each piece goes in as a batch of frames; it gives minibatch CKA. Ours
(`BlockSimilarity`) gives the same CKA, the biased one and cosines, and in an arm of its own mutual
k-NN too. Then what both do with few samples and with a constant state.

    pip install torch_cka==0.21; python tools/bench/cka_peer.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from typing import Any, Dict, List, Optional, Sequence

import torch
from analysis_base import load, recordings
from bench_results import add_output_option, write_results
from torch import Tensor, nn

from espnet_plugin.analysis.states.block_similarity import PIECE, BlockSimilarity
from espnet_plugin.stacks.batches import read_batch


class Given(nn.Module):
    """Gives each of ``count`` states, (n, count, D) at once, out of a module of its own."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.states = nn.ModuleList(nn.Identity() for _ in range(count))

    def forward(self, samples: Tensor) -> None:
        for state, values in zip(self.states, samples.unbind(1), strict=True):
            state(values)


class Pieces(torch.utils.data.Dataset):
    """Pieces (n, S, D), one an item."""

    def __init__(self, pieces: Sequence[Tensor]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, number: int) -> List[Tensor]:
        return [self.pieces[number]]


def theirs(pieces: Sequence[Tensor]) -> Tensor:
    """torch_cka's matrix (S, S)."""
    from torch_cka import CKA

    count = pieces[0].shape[1]
    names = [f"states.{n}" for n in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cka = CKA(Given(count), Given(count), "a", "b", list(names), list(names))
        loader = torch.utils.data.DataLoader(Pieces(pieces), batch_size=None)
        with torch.no_grad():
            cka.compare(loader, loader)
    return cka.export()["CKA"]


def ours(pieces: Sequence[Tensor], neighbours: int = 10) -> BlockSimilarity:
    """All our measures, without k-NN if there are 0 neighbours; every piece as an utterance."""
    found = BlockSimilarity(neighbours)
    for number, piece in enumerate(pieces):
        found.update([str(number)], [state[None] for state in piece.unbind(1)], [len(piece)])
    return found


@torch.inference_mode()
def features(checkpoint: Optional[str], count: Optional[int]) -> List[Tensor]:
    """(n, S, D) float32 each: the states of the recordings in pieces of at most PIECE frames."""
    subject = load(checkpoint)
    found: List[Tensor] = []
    for utterance in recordings(count):
        _, speech, lengths = read_batch([utterance])
        hidden, frames = subject.encoder(speech, lengths)
        states = torch.stack([state[0, : int(frames)] for state in hidden], 1)
        found.extend(states.tensor_split(-(-len(states) // PIECE)))
    return found


def exact(pieces: Sequence[Tensor]) -> Tensor:
    """Minibatch CKA in float64 as its definition says it, pair by pair."""
    count = pieces[0].shape[1]
    hsic = torch.zeros(count, count, dtype=torch.float64)
    for piece in pieces:
        grams = []
        for state in piece.double().unbind(1):
            gram = state @ state.T
            grams.append(gram.fill_diagonal_(0))
        n = len(piece)
        for i, k in enumerate(grams):
            for j, m in enumerate(grams):
                total = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2))
                total -= 2 * k.sum(0) @ m.sum(0) / (n - 2)
                hsic[i, j] += total / (n * (n - 3))
    return hsic / torch.outer(hsic.diagonal(), hsic.diagonal()).sqrt()


def said(call: Any, pieces: Sequence[Tensor]) -> str:
    """What comes of it, in words."""
    try:
        return str([[round(v, 4) for v in row] for row in call(pieces).tolist()])
    except Exception as error:  # whatever it is, that is what we report
        return f"{type(error).__name__}: {error}"


def edge_cases() -> Dict[str, Dict[str, str]]:
    """Two states, the second of which is the first and noise: few samples, and a constant one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, 8, generator=generator)
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    constants = {value: x.clone() for value in (0.1, 1.0)}
    for value, states in constants.items():
        states[:, 1] = value
    cases = {f"{n} samples": [x[:n]] for n in (1, 2, 3)}
    cases["3 samples among 40"] = [x[:37], x[37:]]
    cases.update({f"a state of {value} alone": [states] for value, states in constants.items()})
    return {
        name: {"torch_cka": said(theirs, pieces), "ours": _ours_said(pieces)}
        for name, pieces in cases.items()
    }


def _ours_said(pieces: Sequence[Tensor]) -> str:
    found = ours(pieces).measured()
    matrix = said(lambda _: found.values["linear_cka"], pieces)
    return "; ".join([matrix, *found.reasons.get("linear_cka", [])])


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the comparison and print a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", help="whatever load_stack reads (default: random, base)")
    parser.add_argument("--utterances", type=int, help="only the longest so many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time, for a machine that others load; take one thread then",
    )
    add_output_option(parser)
    args = parser.parse_args(cmd)
    try:
        import torch_cka  # noqa: F401
    except ImportError:
        raise SystemExit("cka_peer: pip install torch_cka==0.21") from None
    torch.set_num_threads(args.num_threads)
    before = os.getloadavg()[0]
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    pieces = features(args.checkpoint, args.utterances)
    right = exact(pieces)
    arms = {"torch_cka": theirs, "ours": lambda p: ours(p, 0), "ours, with k-NN": ours}
    seconds: Dict[str, List[float]] = {name: [] for name in arms}
    wrong: Dict[str, float] = {}
    for _ in range(args.rounds):
        spent = dict.fromkeys(seconds, 0.0)
        for piece in pieces:  # in turn, piece by piece
            for name, call in arms.items():
                start = clock()
                call([piece])
                spent[name] += clock() - start
        for name, value in spent.items():
            seconds[name].append(value)
    wrong["torch_cka"] = float((theirs(pieces).double() - right).abs().max())
    wrong["ours"] = float((ours(pieces).result()["linear_cka"] - right).abs().max())
    faster = {
        name: [t / o for t, o in zip(seconds["torch_cka"], own, strict=True)]
        for name, own in seconds.items()
        if name != "torch_cka"
    }
    result = {
        "pieces": len(pieces),
        "frames": sum(len(piece) for piece in pieces),
        "states": pieces[0].shape[1],
        "torch": torch.__version__,
        "threads": args.num_threads,
        "clock": args.clock,
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "seconds": {name: round(statistics.median(s), 2) for name, s in seconds.items()},
        "times_faster": {
            name: [round(f(ratios), 1) for f in (statistics.median, min, max)]
            for name, ratios in faster.items()
        },
        "largest_error": {name: f"{value:.1e}" for name, value in wrong.items()},
        "edge_cases": edge_cases(),
    }
    print(json.dumps(result, indent=1))
    write_results(args.output, result)


if __name__ == "__main__":
    main()
