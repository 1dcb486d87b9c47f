#!/usr/bin/env python3
"""How often planted abnormal blocks are found in a trained model, and how often clean ones are
called abnormal.

A case is a model, some utterances drawn from a Kaldi directory and, where something is planted,
one or two of its blocks whose attention maps are replaced in a forward pass. Half of the cases are
clean. What is planted:

    uniform        every frame attends to all frames alike
    column         all frames attend to one frame
    shifted        each frame attends to the one that is some frames ahead or behind
    backwards      frame t attends to frame T - 1 - t
    zero_queries   the block's queries and their biases are set to zero: parameters edited, no map

All but the last can be planted softly: ``--strength 0.8`` leaves 0.2 of the model's own map.

    cd WHERE_THE_RECIPE_RAN
    B=path/to/tools/bench/planted_blocks.py
    python $B --model exp/asr_conformer --data_dir dump/raw/test --output a.json
    python $B --summary a.json b.json
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from bench_results import add_output_option, markdown_table, write_results
from torch import Tensor

from espnet_plugin.analysis.blocks.block_pattern import Pattern, label_of, scores
from espnet_plugin.analysis.blocks.diagnosis import diagnose
from espnet_plugin.stacks.batches import Utterance, list_utterances, plan_batches, read_batch
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.map_edits import edited_maps
from espnet_plugin.stacks.stack import Stack, follows

Plant = Callable[[Tensor, Tensor], Tensor]


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="trained; whatever load_stack reads")
    what.add_argument("--summary", nargs="+", metavar="JSON", help="tables of earlier results")
    parser.add_argument("--data_dir", help="Kaldi directory with wav.scp")
    parser.add_argument("--cases", type=int, default=20, help="per kind of plant")
    parser.add_argument("--utterances", type=int, default=16, help="of each case")
    parser.add_argument("--strength", type=float, default=1.0, help="of the planted map, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    add_output_option(parser)
    return parser


# -- what is planted ----------------------------------------------------------------------------


def uniform(maps: Tensor, lengths: Tensor) -> Tensor:
    """1 / T on the valid frames of each utterance."""
    return _rows(maps, lengths, lambda row, frames: row.fill_(1 / frames))


def column(place: float) -> Plant:
    """All frames attend to the frame at ``place`` (0 to 1) of the utterance."""

    def plant(maps: Tensor, lengths: Tensor) -> Tensor:
        return _rows(
            maps, lengths, lambda row, frames: row[..., int(place * (frames - 1))].fill_(1)
        )

    return plant


def shifted(offset: int) -> Plant:
    """Each frame attends to the one ``offset`` frames on, or to the first or last one."""

    def target(frames: int) -> Tensor:
        return (torch.arange(frames) + offset).clamp(0, frames - 1)

    return lambda maps, lengths: _one_hot(maps, lengths, target)


def backwards(maps: Tensor, lengths: Tensor) -> Tensor:
    """Frame t attends to frame T - 1 - t."""
    return _one_hot(maps, lengths, lambda frames: torch.arange(frames - 1, -1, -1))


def _rows(maps: Tensor, lengths: Tensor, fill: Callable[[Tensor, int], Any]) -> Tensor:
    planted = torch.zeros_like(maps)
    for utterance, frames in enumerate(lengths.tolist()):
        fill(planted[utterance, :, :, :frames], frames)
    return planted


def _one_hot(maps: Tensor, lengths: Tensor, target: Callable[[int], Tensor]) -> Tensor:
    planted = torch.zeros_like(maps)
    for utterance, frames in enumerate(lengths.tolist()):
        planted[utterance, :, torch.arange(frames), target(frames)] = 1
    return planted


def without_queries(stack: Stack, blocks: Sequence[int]) -> Stack:
    """A copy whose ``blocks`` have queries of zero, so that their maps are uniform."""
    edited = copy.deepcopy(stack)
    for block in blocks:
        attention: Any = edited.blocks[block].attention
        names = ("query", "linear_q", "pos_bias_u", "pos_bias_v")
        for part in (getattr(attention, name) for name in names if hasattr(attention, name)):
            for parameter in [part] if isinstance(part, torch.nn.Parameter) else part.parameters():
                torch.nn.init.zeros_(parameter)
    return edited


KINDS = ("uniform", "column", "shifted", "backwards", "zero_queries")


def plant_of(kind: str, draw: random.Random) -> Plant:
    """A plant of that kind; ``draw`` says where the column is, or how far the shift goes."""
    if kind == "column":
        return column(draw.random())
    if kind == "shifted":
        return shifted(draw.choice([-1, 1]) * draw.randint(4, 12))
    return {"uniform": uniform, "backwards": backwards}[kind]


# -- cases --------------------------------------------------------------------------------------


@torch.inference_mode()
def patterns_of(stack: Stack, utterances: Sequence[Utterance]) -> Dict[int, Pattern]:
    """The mean scores of each block with a map of its own, without intervals."""
    own = [n for n, block in enumerate(stack.blocks) if not follows(block)]
    found: Dict[int, List[Tensor]] = defaultdict(list)

    def look(block: int, maps: Tensor, lengths: Tensor) -> None:
        if block in own:
            found[block].append(scores(maps.mean(1, keepdim=True), lengths)[:, 0])

    with attention_maps(stack, look):
        for batch in plan_batches(list(utterances), 60.0):
            _, speech, samples = read_batch(batch)
            stack.output(speech, samples)
    patterns = {}
    for block, parts in found.items():
        mean = torch.cat(parts).mean(0).tolist()
        patterns[block] = Pattern(tuple(mean), tuple((v, v) for v in mean), label_of(mean))
    return patterns


def run_case(
    stack: Stack,
    utterances: Sequence[Utterance],
    kind: Optional[str],
    blocks: Sequence[int],
    draw: random.Random,
    strength: float = 1.0,
) -> Dict[int, Pattern]:
    """The patterns of the stack with ``blocks`` replaced by a plant; None: as it is."""
    if kind == "zero_queries":
        return patterns_of(without_queries(stack, blocks), utterances)
    planting: Any = nullcontext()
    if kind is not None:
        plant = plant_of(kind, draw)

        def edit(block: int, maps: Tensor, lengths: Tensor) -> Tensor:
            if block not in blocks:
                return maps
            return strength * plant(maps, lengths) + (1 - strength) * maps

        planting = edited_maps(stack, edit)
    with planting:
        return patterns_of(stack, utterances)


def run_cases(
    stack: Stack,
    utterances: Sequence[Utterance],
    cases: int,
    count: int = 16,
    strength: float = 1.0,
    seed: int = 0,
) -> List[Dict[str, Any]]:
    """``cases`` of each kind of plant, every second with two blocks, and as many clean ones.

    Returns:
        Of each case ``kind`` (None: clean), ``planted`` and the ``scores`` of each block.
    """
    draw = random.Random(seed)
    own = [n for n, block in enumerate(stack.blocks) if not follows(block)]
    found = []
    for number in range(cases):
        for kind in [k for each in KINDS for k in (each, None)]:
            chosen = draw.sample(list(utterances), min(count, len(utterances)))
            blocks = sorted(draw.sample(own, 1 + number % 2)) if kind else []
            patterns = run_case(stack, chosen, kind, blocks, draw, strength)
            values = {block: list(pattern.scores) for block, pattern in patterns.items()}
            found.append({"kind": kind, "planted": blocks, "scores": values})
    return found


# -- tables -------------------------------------------------------------------------------------


def flagged(case: Dict[str, Any], **rule: Any) -> List[int]:
    """The blocks of a case that are called abnormal."""
    patterns = {
        int(block): Pattern(tuple(v), tuple((x, x) for x in v), label_of(v))
        for block, v in case["scores"].items()
    }
    return diagnose(patterns, **rule).abnormal


def wilson(right: int, total: int) -> Tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    z, share = 1.959964, right / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


def counts(cases: Sequence[Dict[str, Any]], **rule: Any) -> Dict[str, int]:
    """Sums over cases: blocks planted, those of them found, blocks flagged that were not planted,
    cases that are clean, those of them with a flag."""
    sums = dict(cases=0, planted=0, found=0, false=0, clean=0, alarms=0)
    for case in cases:
        blocks, planted = set(flagged(case, **rule)), set(case["planted"])
        sums["cases"] += bool(planted)
        sums["planted"] += len(planted)
        sums["found"] += len(blocks & planted)
        sums["false"] += len(blocks - planted)
        sums["clean"] += not planted
        sums["alarms"] += bool(blocks) and not planted
    return sums


def rows(results: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """One line for each kind, for each model, and for everything."""
    groups: Dict[str, List[Dict[str, Any]]] = {}
    for kind in KINDS:
        groups[kind] = [c for r in results for c in r["cases"] if c["kind"] == kind]
    groups["clean"] = [c for r in results for c in r["cases"] if c["kind"] is None]
    for result in results:
        groups.setdefault(f"{result['model']}, {result['data']}", []).extend(result["cases"])
    groups["all"] = [c for r in results for c in r["cases"]]
    return [_row(name, counts(cases)) for name, cases in groups.items()]


def _row(name: str, sums: Dict[str, int]) -> Dict[str, Any]:
    reported = sums["found"] + sums["false"]
    return {
        "cases": name,
        "planted cases": sums["cases"],
        "recall of blocks": _share(sums["found"], sums["planted"]),
        "precision of flags": _share(sums["found"], reported) if sums["cases"] else "",
        "clean cases": sums["clean"],
        "clean ones flagged": _share(sums["alarms"], sums["clean"]),
    }


def _share(right: int, total: int) -> str:
    if not total:
        return ""
    low, high = wilson(right, total)
    return f"{right}/{total} = {right / total:.3f} ({low:.3f}–{high:.3f})"


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the cases of one model, or show the tables of several runs."""
    parser = get_parser()
    args = parser.parse_args(cmd)
    if args.summary is not None:
        results = [json.loads(Path(path).read_text(encoding="utf-8")) for path in args.summary]
        print(markdown_table(rows(results)))
        return
    if args.data_dir is None:
        parser.error("--model needs --data_dir")
    stack = load_stack(args.model)
    utterances = list_utterances(args.data_dir)
    cases = run_cases(stack, utterances, args.cases, args.utterances, args.strength, args.seed)
    result = {"model": args.model, "data": args.data_dir, **vars(args), "cases": cases}
    result["patterns"] = {
        block: np.round(pattern.scores, 4).tolist()
        for block, pattern in patterns_of(stack, utterances).items()
    }
    write_results(args.output, result)
    print(markdown_table(rows([result])))


if __name__ == "__main__":
    main()
