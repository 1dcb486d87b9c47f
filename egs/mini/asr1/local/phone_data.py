"""Phone texts, phone tokens and a phone lexicon from manifests with phone alignments.

python local/phone_data.py data/manifests exp/phone/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

from espnet_plugin.atomic import atomic_open


def pronunciations(alignment: dict) -> list:
    """(word, its phones) of one supervision: the phones whose middle lies in the word."""
    phones = [(item.start + item.duration / 2, item.symbol) for item in alignment["phone"]]
    return [
        (word.symbol, tuple(p for middle, p in phones if word.start <= middle < word.end))
        for word in alignment["word"]
    ]


def main() -> None:
    from lhotse import load_manifest

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", type=Path, help="directory with SET_supervisions.jsonl.gz")
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", default=["train", "dev"], help="the first trains")
    args = parser.parse_args()
    phones, lexicon = set(), set()
    for name in args.sets:
        manifest = load_manifest(args.manifests / f"{name}_supervisions.jsonl.gz")
        with atomic_open(args.out / name / "text") as stream:
            for supervision in manifest:
                symbols = [item.symbol for item in supervision.alignment["phone"]]
                stream.write(f"{supervision.id} {' '.join(symbols)}\n")
                phones.update(symbols)
                lexicon.update(pronunciations(supervision.alignment))
    with atomic_open(args.out / "tokens.txt") as stream:
        stream.write("\n".join(["<blank>", "<unk>", *sorted(phones), "<sos/eos>"]) + "\n")
    with atomic_open(args.out / "lexicon.txt") as stream:
        stream.writelines(f"{word} {' '.join(spoken)}\n" for word, spoken in sorted(lexicon))


if __name__ == "__main__":
    main()
