"""Train with KenLM's ``lmplz`` where it is installed."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterable, Optional, Sequence

from espnet_plugin.atomic import PathLike, atomic_path
from espnet_plugin.lm.ngram import NGramError


def find_lmplz() -> Optional[str]:
    """The path of ``lmplz`` if it is on PATH."""
    return shutil.which("lmplz")


def train_lmplz(
    sentences: Iterable[Sequence[str]], order: int, out: PathLike, prune: Sequence[int] = (0,)
) -> None:
    """Write the ARPA file that ``lmplz --discount_fallback`` makes of sentences.

    Args:
        sentences: lists of words without ``<s>`` and ``</s>``.
        order: of the model.
        out: the ARPA file, whole or not at all; gzip if the name ends in ``.gz``.
        prune: as for :func:`espnet_plugin.lm.train_ngram`.

    Raises:
        NGramError: there is no ``lmplz`` on PATH, or it failed; with its last words.
    """
    lmplz = find_lmplz()
    if lmplz is None:
        raise NGramError("lmplz is not on PATH: build KenLM (kheafield.com/code/kenlm) or use own")
    with tempfile.TemporaryDirectory() as folder:
        text, arpa = Path(folder, "text"), Path(folder, "arpa")
        with open(text, "w", encoding="utf-8") as stream:
            stream.writelines(" ".join(words) + "\n" for words in sentences)
        run = subprocess.run(
            [
                *(lmplz, "--order", str(order), "--text", str(text), "--arpa", str(arpa)),
                *("--temp_prefix", f"{folder}/sort", "--memory", "10%", "--discount_fallback"),
                *("--prune", *map(str, prune)),
            ],
            capture_output=True,
            text=True,
        )
        if run.returncode != 0:
            last = (run.stderr.strip() or f"exit status {run.returncode}").splitlines()[-1]
            raise NGramError(f"lmplz failed: {last}")
        with atomic_path(out) as temporary, open(arpa, "rb") as source:
            packed = temporary.suffix == ".gz"
            with gzip.open(temporary, "wb") if packed else open(temporary, "wb") as target:
                shutil.copyfileobj(source, target)
