"""Make the mini corpus: synthetic speech in LibriSpeech's layout, with exact alignments."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import fields
from typing import Optional, Sequence

from espnet_plugin.data.mini import MiniOptions, make_mini


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    defaults = MiniOptions()
    parser.add_argument("--out", required=True, help="gets LibriSpeech/ and alignments/")
    parser.add_argument("--nj", type=int, default=2, help="processes; no influence on the bytes")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    for part in ("train", "dev", "test"):
        name = f"{part}_minutes"
        parser.add_argument(
            f"--{name}", type=float, default=getattr(defaults, name), help="approximate size"
        )
    parser.add_argument(
        "--min_word_count",
        type=int,
        default=defaults.min_word_count,
        help="every word of dev and test occurs this often in train",
    )
    parser.add_argument(
        "--snr_db", type=float, default=defaults.snr_db, help="mean ratio of speech to noise"
    )
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = vars(get_parser().parse_args(cmd))
    options = MiniOptions(**{field.name: args[field.name] for field in fields(MiniOptions)})
    try:
        corpus = make_mini(args["out"], options, args["nj"])
    except (FileExistsError, ImportError, ValueError) as error:
        sys.exit(f"make_mini: {error}")
    logging.info("mini corpus: %s", corpus)


if __name__ == "__main__":
    main()
