"""Check a corpus in LibriSpeech's layout; write lhotse manifests and Kaldi directories."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Optional, Sequence

from espnet_plugin.data.librispeech import prepare


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--corpus_dir", required=True, help="holds train-clean-100 and the like")
    parser.add_argument("--out", default="data", help="gets <set>/ and manifests/")
    parser.add_argument("--parts", nargs="+", help="parts to read; all that are there if absent")
    parser.add_argument("--split", help="YAML file that names sets; one set per part if absent")
    parser.add_argument("--alignments", help="directory of TextGrids")
    parser.add_argument(
        "--skip_bad", action="store_true", help="leave damaged utterances out and go on"
    )
    parser.add_argument(
        "--speed_perturb", default="", help='speeds, for example "0.9 1.0 1.1": adds <set>_sp'
    )
    parser.add_argument(
        "--speed_sets", nargs="+", help="sets to perturb; those named train... if absent"
    )
    parser.add_argument("--nj", type=int, default=2, help="threads")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    args = get_parser().parse_args(cmd)
    try:
        prepare(
            args.corpus_dir,
            args.out,
            parts=args.parts,
            split=args.split,
            alignments_dir=args.alignments,
            skip_bad=args.skip_bad,
            speeds=[float(speed) for speed in args.speed_perturb.split()],
            speed_sets=args.speed_sets,
            nj=args.nj,
        )
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"prepare_data: {error}")


if __name__ == "__main__":
    main()
