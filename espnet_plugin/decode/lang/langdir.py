"""A language directory: what the words are and how tokens spell them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from espnet_plugin.atomic import PathLike, atomic_dir, write_json
from espnet_plugin.compat import require_k2, torch_load
from espnet_plugin.decode.lang.fsa import count_disambiguation, lexicon_arcs
from espnet_plugin.decode.lang.pronunciations import Pronunciations

if TYPE_CHECKING:
    import k2

EPSILON, BACKOFF, START, END = "<eps>", "#0", "<s>", "</s>"
RESERVED = (EPSILON, BACKOFF, START, END)
"""Names in words.txt that no word may have."""


@dataclass(frozen=True)
class LangDir:
    """Words and their pronunciations.

    Attributes:
        tokens: V names in the order of the model's outputs (ESPnet's: the blank is 0).
        words: ``words[i]`` is the word with id i; ``words[0]`` is ``<eps>``.
        pronunciations: of every word but ``<eps>``.
        silence: the token that may stand at the start and after each word, or None.
        silence_probability: how probable it is there, between 0 and 1.

    On disk: tokens.txt (a token a line), words.txt (word and id, with ``#0 <s> </s>`` after the
    words as Kaldi and icefall have them), lexicon.txt (word, tokens), lexiconp.txt (word,
    probability, tokens), lang.json, and L.pt and L_disambig.pt, which ``k2.Fsa.from_dict``
    takes: labels are tokens and disambiguation symbols (``#0`` is V, ``#1`` is V + 1, …),
    ``aux_labels`` words.
    """

    tokens: List[str]
    words: List[str]
    pronunciations: Pronunciations
    silence: Optional[int] = None
    silence_probability: float = 0.5

    @cached_property
    def lexicon(self) -> Dict[str, List[Tuple[int, ...]]]:
        """Each word's pronunciations as token ids, in the order of lexicon.txt."""
        prons = self.pronunciations
        found: Dict[str, List[Tuple[int, ...]]] = {}
        tokens = prons.tokens.tolist()
        for word, start, length in zip(
            prons.word.tolist(), prons.starts.tolist(), prons.length.tolist(), strict=True
        ):
            found.setdefault(self.words[word], []).append(tuple(tokens[start : start + length]))
        return found

    @property
    def disambiguation(self) -> Dict[str, int]:
        """The label of each disambiguation symbol in L_disambig; ``#0`` passes G's backoffs."""
        size = 1 + count_disambiguation(self.pronunciations, self.silence is not None)
        return {f"#{i}": len(self.tokens) + i for i in range(size)}

    def save(self, path: PathLike, reports: Optional[Mapping[str, Sequence[str]]] = None) -> None:
        """Write the directory, whole or not at all; what was there before is replaced.

        Args:
            path: the directory.
            reports: more text files to put there, as lines by file name.

        Raises:
            ValueError: ``path`` is something else than a language directory.
        """
        if Path(path).exists() and not _replaceable(Path(path)):
            raise ValueError(f"{path}: is there and is no language directory; give another name")
        with atomic_dir(path) as folder:
            symbols = [*self.words, BACKOFF, START, END]
            _write(folder / "tokens.txt", self.tokens)
            _write(folder / "words.txt", [f"{word} {i}" for i, word in enumerate(symbols)])
            plain, weighted = self._lexicon_lines()
            _write(folder / "lexicon.txt", plain)
            _write(folder / "lexiconp.txt", weighted)
            silence = None if self.silence is None else self.tokens[self.silence]
            write_json(
                folder / "lang.json",
                {
                    "silence": silence,
                    "silence_probability": self.silence_probability,
                    "disambiguation": self.disambiguation,
                },
            )
            for name, lines in (reports or {}).items():
                _write(folder / name, lines)
            for name, disambiguate in (("L.pt", False), ("L_disambig.pt", True)):
                torch.save(lexicon_arcs(self, disambiguate), folder / name)

    def _lexicon_lines(self) -> Tuple[List[str], List[str]]:
        prons, plain, weighted = self.pronunciations, [], []
        tokens = prons.tokens.tolist()
        for word, start, length, log_prob in zip(
            prons.word.tolist(),
            prons.starts.tolist(),
            prons.length.tolist(),
            prons.log_prob.tolist(),
            strict=True,
        ):
            name, spelt = (
                self.words[word],
                " ".join(self.tokens[token] for token in tokens[start : start + length]),
            )
            plain.append(f"{name} {spelt}")
            weighted.append(f"{name} {math.exp(log_prob):.17g} {spelt}")
        return plain, weighted

    @classmethod
    def load(cls, path: PathLike) -> LangDir:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such directory, or a file of it is missing.
            ValueError: a file whose content is not what is expected, with its name.
        """
        folder = Path(path)
        for name in ("tokens.txt", "words.txt", "lexiconp.txt", "lang.json"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name}: missing; prepare_lang writes it")
        tokens = read_tokens(folder / "tokens.txt")
        words = read_words(folder / "words.txt")
        prons = _read_pronunciations(folder / "lexiconp.txt", tokens, words)
        return cls(tokens, words, prons, *_read_silence(folder / "lang.json", tokens))


def load_lexicon_fsa(path: PathLike, disambiguated: bool = False) -> k2.Fsa:
    """L or L_disambig of a language directory, arc-sorted.

    Raises:
        ImportError: k2 is not installed.
    """
    k2 = require_k2()
    name = "L_disambig.pt" if disambiguated else "L.pt"
    return k2.arc_sort(k2.Fsa.from_dict(torch_load(Path(path) / name)))


def read_tokens(path: PathLike) -> List[str]:
    """A token list of ESPnet: a token a line, the blank first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: fewer than two tokens, or one twice, or not UTF-8.
    """
    tokens = [line.rstrip() for line in _lines(path)]
    if len(tokens) < 2:
        raise ValueError(f"{path}: a token list has a blank and tokens, one a line")
    places: Dict[str, int] = {}
    for number, token in enumerate(tokens, 1):
        if token in places:
            raise ValueError(f"{path}:{number}: {token!r} is also in line {places[token]}")
        places[token] = number
    return tokens


def read_words(path: PathLike) -> List[str]:
    """words.txt without the symbols after the words; the line numbers are the ids.

    Raises:
        ValueError: a line that is not a word and the next id.
    """
    words = []
    for number, line in enumerate(_lines(path)):
        fields = line.split()
        if len(fields) != 2 or fields[1] != str(number):
            raise ValueError(f"{path}:{number + 1}: expected a word and its id {number}: {line!r}")
        words.append(fields[0])
    if words[:1] != [EPSILON] or words[-3:] != [BACKOFF, START, END]:
        raise ValueError(f"{path}: the first word must be <eps> and the last three #0 <s> </s>")
    return words[:-3]


def _read_pronunciations(path: Path, tokens: List[str], words: List[str]) -> Pronunciations:
    token_ids = {token: i for i, token in enumerate(tokens)}
    word_ids = {word: i for i, word in enumerate(words)}
    entries = []
    for number, line in enumerate(_lines(path), 1):
        word, *rest = line.split() or [""]
        try:
            probability, spelt = float(rest[0]), [token_ids[token] for token in rest[1:]]
            if not spelt or not probability > 0:
                raise ValueError
            entries.append((word_ids[word], spelt, probability))
        except KeyError as error:
            raise ValueError(
                f"{path}:{number}: {error.args[0]!r} is not in words.txt or tokens.txt"
            ) from None
        except (IndexError, ValueError):
            raise ValueError(
                f"{path}:{number}: expected a word, its probability and its tokens: {line!r}"
            ) from None
    if not entries:
        raise ValueError(f"{path}: no pronunciation in it")
    return Pronunciations.from_entries(entries)


def _read_silence(path: Path, tokens: List[str]) -> Tuple[Optional[int], float]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        silence, probability = settings["silence"], float(settings["silence_probability"])
        return None if silence is None else tokens.index(silence), probability
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged, run prepare_lang again: {error}") from None


def _lines(path: PathLike) -> List[str]:
    """Lines as ESPnet reads a token list: none but line feeds end them."""
    try:
        with open(path, encoding="utf-8") as stream:
            return [line.rstrip("\n") for line in stream]
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8") from None


def _replaceable(path: Path) -> bool:
    return path.is_dir() and ((path / "lang.json").is_file() or not any(path.iterdir()))


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
