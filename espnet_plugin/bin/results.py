"""Write RESULTS.md from the scores, the benchmark, the analysis and the plan of a recipe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from espnet_plugin.analysis.heads.ranking_report import SCHEMA as RANKING
from espnet_plugin.atomic import atomic_open
from espnet_plugin.report.analyses import ReportError, read_analyses, read_schema
from espnet_plugin.report.arms import arms_table
from espnet_plugin.report.decodings import ResultsError, read_decodings, read_json
from espnet_plugin.report.results import results_page


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--exp_dir", nargs="+", required=True, help="the models")
    parser.add_argument("--decode", nargs="+", required=True, help="decodings in each --exp_dir")
    parser.add_argument("--benchmark", required=True, help="folder that bin.benchmark wrote")
    parser.add_argument("--analysis", nargs="+", required=True, help="folders of bin.analyze")
    parser.add_argument("--ranking", nargs="+", default=[], help="ranking.json of bin.rank_heads")
    parser.add_argument("--plan", help="block plan of the last model")
    parser.add_argument(
        "--arms",
        action="append",
        default=[],
        nargs="+",
        metavar="HEADING DECODE,… BENCHMARK ARM",
        help="a table of edits: its heading, decodings, bin.benchmark's folder, experiments",
    )
    parser.add_argument("--title", required=True)
    parser.add_argument("--note", required=True, help="the scale, and what a reader must know")
    parser.add_argument("--command", required=True, help="what makes these results")
    parser.add_argument("--out", required=True, help="RESULTS.md")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    try:
        page = results_page(
            [read_decodings(directory, args.decode) for directory in args.exp_dir],
            read_json(Path(args.benchmark) / "benchmark.json"),
            (Path(args.benchmark) / "benchmark.md").read_text(encoding="utf-8"),
            read_analyses(args.analysis),
            [read_schema(path, RANKING) for path in args.ranking],
            Path(args.plan).read_text(encoding="utf-8") if args.plan else None,
            args.title,
            args.note,
            args.command,
            {
                heading: arms_table(arms, tags.split(","), benchmark)
                for heading, tags, benchmark, *arms in args.arms
            },
        )
    except (OSError, ResultsError, ReportError) as error:
        sys.exit(f"results: {error}")
    with atomic_open(args.out) as stream:
        stream.write(page)


if __name__ == "__main__":
    main()
