"""One HTML page of what analyses found, and its figures in paper quality.

::

    python -m espnet_plugin.bin.report --analysis exp/asr/analysis --out report.html
    python -m espnet_plugin.bin.report --analysis exp/a/analysis exp/b/analysis --names a b \\
        --plan plan.yaml --out report.html --figures figures
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Optional, Sequence


def get_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        description="One self-contained HTML page of what analyses found",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--analysis",
        nargs="+",
        required=True,
        metavar="DIR",
        help="what bin.analyze wrote; several: models side by side",
    )
    parser.add_argument("--names", nargs="+", help="of the models; their directories' otherwise")
    parser.add_argument("--plan", help="block plan of the first model")
    parser.add_argument("--diagnosis", help="diagnosis.json of the first model")
    parser.add_argument("--curves", nargs="+", default=[], help="curves of heads or blocks, JSON")
    parser.add_argument("--benchmark", help="benchmark.json")
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("--out", help="the page, HTML")
    parser.add_argument("--figures", metavar="DIR", help="write every figure as PNG and PDF, too")
    parser.add_argument("--megabytes", type=float, default=15.0, help="the most the page may have")
    return parser


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if args.out is None and args.figures is None:
        sys.exit("report: nothing to write: give --out, --figures or both")
    from espnet_plugin.report.analyses import (
        ReportError,
        check_extras,
        read_analyses,
        read_extras,
    )

    try:
        analyses = read_analyses(args.analysis, args.names)
        extras = read_extras(args.plan, args.diagnosis, args.curves, args.benchmark)
        check_extras(analyses, extras)
        if args.out is not None:
            from espnet_plugin.report.html.page import write_page

            size = write_page(args.out, analyses, extras, args.title, args.megabytes)
            logging.info("%s: %.1f MB", args.out, size / 1e6)
        if args.figures is not None:
            from espnet_plugin.report.figures import write_figures

            written = write_figures(args.figures, analyses, extras)
            logging.info("%s: %d figures, each as PNG and PDF", args.figures, len(written) // 2)
    except (ReportError, ImportError) as error:
        sys.exit(f"report: {error}")


if __name__ == "__main__":
    main()
