"""Time and memory to train, save, load and query an n-gram model of a large vocabulary.

python tools/bench/ngram.py --word_counts $ESPNET_PLUGIN_DATA/lm/librispeech_train_word_counts.txt
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Dict, List

from bench_results import (
    add_output_option,
    markdown_table,
    peak_gigabytes,
    use_cores,
    write_results,
)
from sampled_text import sample_sentences

from espnet_plugin.lm import NGram, train_ngram
from espnet_plugin.lm.text import read_word_counts


def measure(what: str, call: Callable[[], Any], rows: List[Dict[str, Any]]) -> Any:
    """Call; note seconds by the clock and of the processor, and the largest memory so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    rows.append(
        {
            "step": what,
            "seconds": time.perf_counter() - wall,
            "CPU seconds": time.process_time() - cpu,
            "peak GiB": peak_gigabytes(),
        }
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--word_counts", required=True, help="lines of a word and its count")
    parser.add_argument("--words", type=int, default=10_000_000, help="of text")
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--prune", nargs="+", type=int, default=[0, 0, 1])
    add_output_option(parser)
    args = parser.parse_args()
    use_cores(1)
    counts = read_word_counts(args.word_counts)
    rows: List[Dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        text, arpa = Path(folder, "text"), Path(folder, "arpa")
        with open(text, "w", encoding="utf-8") as stream:
            for sentence in sample_sentences(counts, args.words):
                stream.write(" ".join(sentence) + "\n")
        with open(text, encoding="utf-8") as stream:
            sentences = (line.split() for line in stream)
            model = measure(
                "train", lambda: train_ngram(sentences, args.order, counts, args.prune), rows
            )
        measure("save", lambda: model.save(arpa), rows)
        model = measure("load", lambda: NGram.load(arpa), rows)
        with open(text, encoding="utf-8") as stream:
            lines = [line.split() for line in islice(stream, 10_000)]
    measure("score 10,000 sentences at once", lambda: model.score_sentences(lines), rows)
    measure("score them one by one", lambda: [model.score(line) for line in lines], rows)
    print(f"{len(model.vocabulary)} words; n-grams by order: {model.counts}\n")
    print(markdown_table(rows))
    write_results(args.output, {"options": vars(args), "counts": model.counts, "steps": rows})


if __name__ == "__main__":
    main()
