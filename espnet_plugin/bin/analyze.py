"""Measure the attention of a trained model over a data set: attention.json and figures."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet_plugin.primitives import bound_primitives


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"true or false, not {text!r}")
    return text.lower() == "true"


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--exp_dir", required=True, help="ESPnet experiment directory")
    parser.add_argument("--checkpoint", help="file in exp_dir; the average or best if not given")
    parser.add_argument("--data_dir", required=True, help="Kaldi directory with wav.scp")
    parser.add_argument("--out", required=True, help="gets attention.json and the figures")
    parser.add_argument(
        "--batch_seconds", type=float, default=60.0, help="speech in one batch, padding included"
    )
    parser.add_argument("--num_threads", type=int, default=2, help="processor threads")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--similarity",
        type=_bool,
        default=True,
        help="also compare the maps of all blocks; keeps the maps of one batch in memory",
    )
    parser.add_argument("--figures", type=_bool, default=True, help="write PNG figures")
    parser.add_argument(
        "--utt_id", help="utterance whose maps are drawn; one of median length if not given"
    )
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    bound_primitives()
    try:
        _analyze(args)
    except (ImportError, OSError, ValueError, TypeError) as error:
        sys.exit(f"analyze: {error}")


def _analyze(args: argparse.Namespace) -> None:
    import torch

    from espnet_plugin.analysis.attention_report import build_report
    from espnet_plugin.analysis.run import AttentionPass, example_maps
    from espnet_plugin.atomic import write_json
    from espnet_plugin.decode.data import model_rate
    from espnet_plugin.progress import progress
    from espnet_plugin.report.figures_attention import plot_maps, plot_measures, plot_similarity
    from espnet_plugin.stacks.batches import list_utterances, plan_batches, read_batch
    from espnet_plugin.stacks.experiment import load_experiment

    torch.set_num_threads(args.num_threads)
    experiment = load_experiment(args.exp_dir, args.checkpoint, args.device)
    utterances = list_utterances(args.data_dir, model_rate(experiment.args))
    rates = {u.rate for u in utterances}
    if len(rates) > 1:
        raise ValueError(f"{args.data_dir}: recordings of several rates: {sorted(rates)}")
    ordered = sorted(utterances, key=lambda u: (u.samples, u.utt_id))
    example = {u.utt_id: u for u in ordered}.get(args.utt_id, ordered[len(ordered) // 2])
    if args.utt_id is not None and example.utt_id != args.utt_id:
        raise ValueError(f"{args.data_dir}: no utterance {args.utt_id}")

    done = AttentionPass(experiment.model, args.similarity)
    batches = plan_batches(utterances, args.batch_seconds)
    for batch in progress(batches, "analyse (batches)"):
        done.update(read_batch(batch))
    report = build_report(experiment, args.data_dir, rates.pop(), done)
    out = Path(args.out)
    write_json(out / "attention.json", report)
    logging.info("%s: %d utterances", out / "attention.json", report["data"]["utterances"])
    if not args.figures:
        return
    plot_measures(report, out / "measures.png")
    if args.similarity:
        plot_similarity(report, out / "similarity.png")
    maps = example_maps(experiment.model, read_batch([example]))
    plot_maps(maps, report, example.utt_id, out / "maps.png")
    logging.info("figures are in %s", out)


if __name__ == "__main__":
    main()
