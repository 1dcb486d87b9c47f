"""WER, CER and TER of decoded sets, in ESPnet's RESULTS form.

    python -m espnet_plugin.bin.score --hyp exp/asr/decode/test/1best_recog/text \\
        --ref data/test/text --bpemodel data/bpe.model --output_dir exp/asr/score
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from espnet_plugin.atomic import atomic_open, write_json
from espnet_plugin.score.sets import ScoreError, Scores, read_text, score_texts
from espnet_plugin.score.tables import alignment_text, results_table
from espnet_plugin.score.units import UNITS, Tokenizer

logger = logging.getLogger(__name__)


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description="WER, CER and TER of decoded sets, in ESPnet's RESULTS form",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--hyp", nargs="+", required=True, help="decoded text, a file per set")
    parser.add_argument("--ref", nargs="+", required=True, help="reference text, a file per set")
    parser.add_argument("--name", nargs="+", help="of the sets; the folders of --ref by default")
    parser.add_argument("--bpemodel", help="SentencePiece model; with it TER is counted too")
    parser.add_argument(
        "--output_dir", help="results.md, results.json and <set>/score_{wer,cer,ter}/result.txt"
    )
    return parser


def score_sets(
    hyps: Sequence[str], refs: Sequence[str], names: Sequence[str], bpemodel: Optional[str] = None
) -> Dict[str, Dict[str, Scores]]:
    """Scores by unit and set.

    Raises:
        ScoreError: as :func:`espnet_plugin.score.sets.score_texts`, or if the lists differ in
            length or a name comes twice.
    """
    if not len(hyps) == len(refs) == len(names):
        raise ScoreError(f"{len(hyps)} --hyp, {len(refs)} --ref and {len(names)} --name")
    if len(set(names)) < len(names):
        raise ScoreError(f"--name: two sets of one name among {', '.join(names)}")
    if bpemodel is not None and not Path(bpemodel).is_file():
        raise ScoreError(f"--bpemodel {bpemodel}: not there")
    texts = {
        name: (read_text(ref), read_text(hyp))
        for name, ref, hyp in zip(names, refs, hyps, strict=True)
    }
    units = [unit for unit in UNITS if unit != "ter" or bpemodel is not None]
    return {
        unit: {
            name: score_texts(ref, hyp, tokenizer, where=name) for name, (ref, hyp) in texts.items()
        }
        for unit, tokenizer in ((unit, Tokenizer(unit, bpemodel)) for unit in units)
    }


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Command line."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s: %(message)s")
    names = args.name or [Path(ref).resolve().parent.name for ref in args.ref]
    try:
        scores = score_sets(args.hyp, args.ref, names, args.bpemodel)
    except ScoreError as error:
        sys.exit(f"score: {error}")
    tables = [
        f"### {unit.upper()}\n\n{results_table({n: s.counts for n, s in sets.items()})}"
        for unit, sets in scores.items()
    ]
    page = "\n".join(tables)
    print(page, end="")
    if args.output_dir is None:
        return
    output = Path(args.output_dir)
    values: Dict[str, Any] = {}
    for unit, sets in scores.items():
        values[unit] = {name: one.as_dict() for name, one in sets.items()}
        for name, one in sets.items():
            with atomic_open(output / name / f"score_{unit}" / "result.txt") as stream:
                stream.write(results_table({name: one.counts}) + "\n")
                stream.write(alignment_text(one.alignments))
    with atomic_open(output / "results.md") as stream:
        stream.write(page)
    write_json(output / "results.json", values)


if __name__ == "__main__":
    main()
