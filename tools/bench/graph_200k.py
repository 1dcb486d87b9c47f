"""How long a decoding graph of a large vocabulary takes to build, and how much memory.

Each step runs in a process of its own, whose time and peak memory are reported:

    vocabulary  the most frequent words of a list of counts, in capitals
    text        synthetic sentences with these frequencies (sampled_text.py), and --transcripts
    pieces      SentencePiece's unigram model, trained on the words with their counts
    ngram       a pruned 3-gram: bin.train_ngram, our Kneser-Ney with the counts as base
    lang        words spelt in pieces: bin.prepare_lang
    graph       G through kaldilm, then HLG: bin.compile_graph
    load        the graph read again, as a decoding reads it
    posteriors  planted for the transcripts of LibriSpeech's other speakers (stored_posteriors.py)

    python tools/bench/graph_200k.py --work DIR --output DIR/graph.json
    python tools/bench/search.py --posteriors DIR/posteriors.pt --graph DIR/HLG.pt \\
        --lang_dir DIR/lang --arpa DIR/3gram.arpa

With --bpemodel the pieces are a trained model's, and its posteriors can be decoded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any, Dict, List

from bench_results import add_output_option, markdown_table, use_cores, write_results

STEPS = ("vocabulary", "text", "pieces", "ngram", "lang", "graph", "load", "posteriors")
COUNTS = "lm/librispeech_train_word_counts.txt"


def vocabulary(args: argparse.Namespace) -> Dict[str, Any]:
    from espnet_plugin.atomic import atomic_open
    from espnet_plugin.lm.text import read_word_counts

    counts = read_word_counts(args.data / COUNTS, case="upper")
    kept = sorted(counts.items(), key=lambda item: -item[1])[: args.words]
    with atomic_open(args.work / "counts.txt") as stream:
        stream.writelines(f"{word} {count}\n" for word, count in kept)
    return {"words": len(kept)}


def text(args: argparse.Namespace) -> Dict[str, Any]:
    from sampled_text import sample_sentences

    from espnet_plugin.atomic import atomic_open
    from espnet_plugin.lm.text import read_sentences, read_word_counts

    counts = read_word_counts(args.work / "counts.txt")
    words = 0
    with atomic_open(args.work / "text.txt") as stream:
        for sentence in sample_sentences(counts, args.sampled):
            words += len(sentence)
            stream.write(" ".join(sentence) + "\n")
        for sentence in read_sentences(args.transcripts, with_ids=True):
            words += len(sentence)
            stream.write(" ".join(sentence) + "\n")
    return {"running words": words}


def pieces(args: argparse.Namespace) -> Dict[str, Any]:
    import sentencepiece

    if args.bpemodel is None:
        lines = (args.work / "counts.txt").read_text(encoding="utf-8").splitlines()
        table = args.work / "counts.tsv"
        # SentencePiece takes no count of 0
        rows = [line.split() for line in lines]
        table.write_text("".join(f"{w}\t{max(1, int(n))}\n" for w, n in rows), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(table), input_format="tsv", model_prefix=str(args.work / "bpe"),
            vocab_size=args.pieces, character_coverage=1.0, num_threads=2, minloglevel=2,
        )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(bpemodel(args)))
    names = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    special = ("<unk>", "<s>", "</s>")
    tokens = ["<blank>", "<unk>", *(n for n in names if n not in special), "<sos/eos>"]
    (args.work / "tokens.txt").write_text("".join(f"{t}\n" for t in tokens), encoding="utf-8")
    return {"tokens": len(tokens)}


def ngram(args: argparse.Namespace) -> Dict[str, Any]:
    from espnet_plugin.bin import train_ngram

    counts = str(args.work / "counts.txt")
    command = ["--text", str(args.work / "text.txt"), "--order", "3", "--engine", "own"]
    command += ["--word_counts", counts, "--vocabulary", counts]
    command += ["--prune", *map(str, args.prune), "--out", str(args.work / "3gram.arpa")]
    train_ngram.main(command)
    with open(args.work / "3gram.arpa", encoding="utf-8") as stream:
        header = [line.split("=")[1].strip() for line in islice(stream, 10) if "=" in line]
    return {"n-grams": " + ".join(header)}


def lang(args: argparse.Namespace) -> Dict[str, Any]:
    from espnet_plugin.bin import prepare_lang

    command = ["--tokens", str(args.work / "tokens.txt"), "--bpemodel", str(bpemodel(args))]
    command += ["--words", str(args.work / "counts.txt"), "--words_format", "counts"]
    prepare_lang.main([*command, "--out", str(args.work / "lang")])
    with open(args.work / "lang" / "lexicon.txt", encoding="utf-8") as stream:
        return {"pronunciations": sum(1 for _ in stream)}


def graph(args: argparse.Namespace) -> Dict[str, Any]:
    from espnet_plugin.bin import compile_graph

    command = ["--lang_dir", str(args.work / "lang"), "--arpa", str(args.work / "3gram.arpa")]
    command += ["--topology", args.topology, "--out", str(args.work / "HLG.pt")]
    compile_graph.main(command)
    return {"MiB": round((args.work / "HLG.pt").stat().st_size / 2**20)}


def load(args: argparse.Namespace) -> Dict[str, Any]:
    from espnet_plugin.decode.graph import Graph

    loaded = Graph.load(args.work / "HLG.pt")
    return {"states": loaded.fsa.shape[0], "arcs": loaded.fsa.num_arcs}


def posteriors(args: argparse.Namespace) -> Dict[str, Any]:
    from stored_posteriors import plant

    from espnet_plugin.decode.lang import LangDir
    from espnet_plugin.lm.text import read_sentences

    language = LangDir.load(args.work / "lang")
    lexicon = language.lexicon
    files = sorted((args.data / "LibriSpeech" / "test-other").glob("*/*/*.trans.txt"))
    sentences = [[w for w in s if w in lexicon] for s in read_sentences(files, with_ids=True)]
    named = {f"planted-{i:04d}": " ".join(s) for i, s in enumerate(sentences) if s}
    made = plant(named, lexicon, len(language.tokens))
    made.save(args.work / "posteriors.pt")
    return {"utterances": len(named), "s of speech": round(made.seconds)}


def bpemodel(args: argparse.Namespace) -> Path:
    return Path(args.bpemodel) if args.bpemodel is not None else args.work / "bpe.model"


def run_step(step: str, command: List[str]) -> Dict[str, Any]:
    """Run one step in a process of its own; its time, peak memory and what it says."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, *command, "--step", step], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"graph_200k: step {step} ended with {process.returncode}")
    details = json.loads(said.splitlines()[-1])
    return {
        "step": step,
        "seconds": time.perf_counter() - start,
        "processor seconds": usage.ru_utime + usage.ru_stime,
        "peak GiB": usage.ru_maxrss / 2**20,
        "result": ", ".join(f"{value} {name}" for name, value in details.items()),
    }


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument(
        "--data", type=Path, help="ESPNET_PLUGIN_DATA, else ../shared/data beside the checkout"
    )
    parser.add_argument("--words", type=int, default=200_000)
    parser.add_argument("--sampled", type=int, default=12_000_000, help="words of synthetic text")
    parser.add_argument("--transcripts", nargs="*", default=[], help="Kaldi texts to add")
    parser.add_argument("--prune", nargs="+", type=int, default=[0, 1, 1])
    parser.add_argument("--pieces", type=int, default=500)
    parser.add_argument("--bpemodel", help="a trained model's pieces instead of new ones")
    parser.add_argument("--topology", default="standard")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--step", choices=STEPS, help="this one alone, in this process")
    parser.add_argument("--from_step", choices=STEPS, default=STEPS[0])
    add_output_option(parser)
    return parser


def main() -> None:
    args = get_parser().parse_args()
    if args.data is None:
        root = Path(__file__).resolve().parents[2]
        args.data = root / os.environ.get("ESPNET_PLUGIN_DATA", "../shared/data")
    use_cores(args.cores)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.step is not None:
        print(json.dumps(globals()[args.step](args)))
        return
    rows = []
    for step in STEPS[STEPS.index(args.from_step) :]:
        rows.append(run_step(step, sys.argv[1:]))
        print(rows[-1], file=sys.stderr, flush=True)
    print(markdown_table(rows))
    write_results(
        args.output, {"options": {k: str(v) for k, v in vars(args).items()}, "steps": rows}
    )


if __name__ == "__main__":
    main()
