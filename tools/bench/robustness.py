"""A thousand utterances in one run, three of them trouble: nothing is lost, memory stays flat.

Makes a Kaldi directory of the first utterances of --data_dirs, with

    an empty recording        0 samples, no transcript
    35 s of noise             no transcript
    a transcript with words that no lexicon has

and decodes it with the command, once for each --method, in batches of few seconds so that there
are many. Checks that every utterance is in every file of results and in the scores, and reports
the memory of the decoding process, looked at after each batch: the mean of the first and of the
last quarter of the batches, and the slope.

    python tools/bench/robustness.py --work DIR --data_dirs dump/raw/{test,dev,train} \\
        --exp_dir exp/asr_conformer --graph HLG.pt --lm 3gram.arpa --output DIR/robustness.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
import soundfile
from bench_results import add_output_option, markdown_table, write_results

from espnet_plugin.score.sets import read_text
from espnet_plugin.stacks.batches import list_utterances

FILES = ("text", "token", "token_int", "score")
EMPTY, NOISE, UNKNOWN = "planted-empty", "planted-noise", "XQZYWORD KVRRTWORD"
RATE = 16000


def make_data(folder: Path, sources: Sequence[str], count: int) -> List[str]:
    """Write ``wav.scp`` and ``text`` of ``count`` utterances, the planted ones among them.

    Returns:
        The ids, in order: the planted recordings stand in the middle.
    """
    recordings, texts = {}, {}
    for source in sources:
        read = read_text(Path(source) / "text")
        for utterance in list_utterances(source):
            recordings[utterance.utt_id] = utterance.path.resolve()
            texts[utterance.utt_id] = read[utterance.utt_id]
    names = list(recordings)[: count - 2]
    if len(names) < count - 2:
        raise SystemExit(f"robustness: {count - 2} utterances are needed, {len(names)} are here")
    texts[names[count // 3]] += " " + UNKNOWN
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for name, samples in ((EMPTY, 0), (NOISE, 35 * RATE)):
        recordings[name], texts[name] = (folder / f"{name}.wav").resolve(), ""
        soundfile.write(recordings[name], generator.normal(0, 0.05, samples), RATE)
    names[count // 2 : count // 2] = [EMPTY, NOISE]
    for file, values in (("wav.scp", recordings), ("text", texts)):
        (folder / file).write_text("".join(f"{n} {values[n]}\n" for n in names), encoding="utf-8")
    return names


def decode(command: Sequence[str], output_dir: Path, log: Path) -> Dict[str, Any]:
    """Run the decoding command and look at its memory whenever a batch is done."""
    journal = output_dir / ".decoding.jsonl"
    most: Dict[int, float] = {}
    start = time.perf_counter()
    with open(log, "w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
        while process.poll() is None:
            batches = _lines(journal) - 1
            if batches > 0:
                most[batches] = max(most.get(batches, 0.0), _resident(process.pid))
            time.sleep(0.02)
    if process.returncode != 0:
        raise SystemExit(f"robustness: decoding ended with {process.returncode}, see {log}")
    seen = np.array(sorted(most.items()))
    quarter = max(1, len(seen) // 4)
    return {
        "seconds": time.perf_counter() - start,
        "batches seen": len(seen),
        "first quarter MiB": float(seen[:quarter, 1].mean()),
        "last quarter MiB": float(seen[-quarter:, 1].mean()),
        "MiB per 100 batches": float(100 * np.polyfit(seen[:, 0], seen[:, 1], 1)[0]),
    }


def missing_ids(output_dir: Path, names: Sequence[str]) -> Dict[str, List[str]]:
    """File -> ids that are not there, or not once, or not asked for; files that are right lack."""
    wrong = {}
    for file in FILES:
        lines = (output_dir / "1best_recog" / file).read_text(encoding="utf-8").splitlines()
        found = [line.split(maxsplit=1)[0] for line in lines]
        if found != list(names):
            wrong[file] = sorted(set(names) ^ set(found)) or ["another order"]
    return wrong


def score(output_dir: Path, data: Path) -> float:
    """WER in percent of the whole directory, by ``bin.score``."""
    command = [sys.executable, "-m", "espnet_plugin.bin.score", "--output_dir", str(output_dir)]
    command += ["--hyp", str(output_dir / "1best_recog" / "text"), "--ref", str(data / "text")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = (output_dir / "results.md").read_text(encoding="utf-8").splitlines()
    values = [row.strip("|").split("|") for row in rows if row.startswith(f"|{data.name}|")]
    return float(values[0][-2])


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _resident(pid: int) -> float:
    """MiB of the largest among a process and its descendants; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0.0
    own = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return max([own, *(_resident(int(child)) for child in children)])


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--data_dirs", nargs="+", required=True, help="Kaldi directories")
    parser.add_argument("--exp_dir", required=True)
    parser.add_argument("--bpemodel", help="instead of the one that the experiment names")
    parser.add_argument("--graph", help="HLG of compile_graph")
    parser.add_argument("--lm", help="ARPA of whole_lattice_rescoring")
    parser.add_argument("--methods", nargs="+", default=["hlg", "whole_lattice_rescoring"])
    parser.add_argument("--utterances", type=int, default=1000, help="the planted ones included")
    parser.add_argument("--batch_seconds", type=float, default=40.0)
    add_output_option(parser)
    return parser


def main() -> None:
    args = get_parser().parse_args()
    data = args.work / "data"
    names = make_data(data, args.data_dirs, args.utterances)
    rows = []
    for method in args.methods:
        output_dir = args.work / method
        command = [sys.executable, "-m", "espnet_plugin.bin.asr_inference_k2"]
        command += ["--exp_dir", args.exp_dir, "--data_dir", str(data), "--method", method]
        command += ["--output_dir", str(output_dir), "--batch_seconds", str(args.batch_seconds)]
        command += ["--num_workers", "0"]
        for option, methods in (("bpemodel", None), ("graph", None), ("lm", ("whole", "nbest_r"))):
            value = getattr(args, option)
            if value is not None and (methods is None or method.startswith(methods)):
                command += [f"--{option}", value]
        memory = decode(command, output_dir, args.work / f"{method}.log")
        wrong = missing_ids(output_dir, names)
        failed = json.loads((output_dir / "rtf.json").read_text(encoding="utf-8"))["failed"]
        rows.append(
            {
                "method": method,
                "utterances": len(names),
                "ids wrong in": ", ".join(wrong) or "no file",
                "failed": ", ".join(failed) or "none",
                "WER": score(output_dir, data),
                **memory,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    print(markdown_table(rows))
    options = {name: str(value) for name, value in vars(args).items()}
    write_results(args.output, {"options": options, "runs": rows})
    if any(row["ids wrong in"] != "no file" for row in rows):
        sys.exit("robustness: utterances are missing")


if __name__ == "__main__":
    main()
