"""Random small languages, and what their graphs must give, found by trying everything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_plugin.decode.lang import LangDir, make_lang
from espnet_plugin.decode.lang.lexicon import Entry

TOKENS = ["<blank>", "<unk>", "a", "b", "c"]
SILENCE = "c"


@dataclass(frozen=True)
class Ngrams:
    """An ARPA model as it is printed: log10 probabilities and backoffs by words."""

    order: int
    probs: dict[tuple[str, ...], float]
    backoffs: dict[tuple[str, ...], float]

    def write(self, path: Path) -> None:
        lines = ["\\data\\"]
        levels = [[g for g in self.probs if len(g) == n] for n in range(1, self.order + 1)]
        lines += [f"ngram {n}={len(level)}" for n, level in enumerate(levels, 1)]
        for n, level in enumerate(levels, 1):
            lines += ["", f"\\{n}-grams:"]
            for gram in level:
                backoff = f"\t{self.backoffs[gram]}" if gram in self.backoffs else ""
                lines.append(f"{self.probs[gram]}\t{' '.join(gram)}{backoff}")
        path.write_text("\n".join([*lines, "", "\\end\\", ""]))

    def best(self, words: tuple[str, ...], history: tuple[str, ...] = ("<s>",)) -> float:
        """The best path through the grammar with its backoffs, natural logarithm."""
        word = words[0] if words else "</s>"
        gram = (*history, word)
        choices = []
        if gram in self.probs:
            score = self.probs[gram] * math.log(10)
            after = gram[1:] if len(gram) == self.order else gram
            while after and after not in self.probs:
                after = after[1:]
            choices.append(score + self.best(words[1:], after) if words else score)
        if history:
            backoff = self.backoffs.get(history, 0.0) * math.log(10)
            choices.append(backoff + self.best(words, history[1:]))
        return max(choices, default=-math.inf)


def random_lang(generator: np.random.Generator, silence: bool) -> LangDir:
    """Two to four words; homophones, prefixes and repeated tokens are likely."""
    letters = [2, 3] if silence else [2, 3, 4]
    entries = {}
    for word in ["U", "V", "W", "X"][: generator.integers(2, 5)]:
        for _ in range(generator.integers(1, 3)):
            spelt = tuple(generator.choice(letters, generator.integers(1, 4)).tolist())
            probability = float(generator.choice([1.0, 0.5, 0.2]))
            entries[word, spelt] = Entry(word, spelt, probability)
    return make_lang(list(entries.values()), TOKENS, SILENCE if silence else None, 0.3)


def random_ngrams(generator: np.random.Generator, words: list[str], order: int) -> Ngrams:
    """Any numbers for any n-grams whose prefixes and suffixes are there."""
    probs = {("<s>",): -99.0, ("</s>",): float(-generator.uniform(0, 2))}
    probs.update({(word,): float(-generator.uniform(0, 2)) for word in words})
    for n in range(2, order + 1):
        grams = itertools.product(*[["<s>", *words]], *[words] * (n - 2), [*words, "</s>"])
        for gram in grams:
            if gram[:-1] in probs and gram[1:] in probs and generator.random() < 0.4:
                probs[gram] = float(-generator.uniform(0, 2))
    backoffs = {
        gram: float(-generator.uniform(0, 1))
        for gram in probs
        if len(gram) < order and gram[-1] != "</s>" and generator.random() < 0.9
    }
    return Ngrams(order, probs, backoffs)


def pronunciations(lang: LangDir, words: tuple[str, ...]) -> Iterator[tuple[tuple, float]]:
    """All token sequences of these words, silences included, with L's log score."""
    prons = lang.pronunciations
    choices: list[list[tuple[tuple, float]]] = []
    pauses: list[tuple[tuple, float]] = [((), 0.0)]
    if lang.silence is not None:
        p = lang.silence_probability
        pauses = [((), math.log1p(-p)), ((lang.silence,), math.log(p))]
    choices.append(pauses)
    for word in words:
        choices.append(
            [
                (tuple(prons.tokens[start : start + length].tolist()), float(log_prob))
                for i, start, length, log_prob in zip(
                    prons.word, prons.starts, prons.length, prons.log_prob, strict=True
                )
                if lang.words[i] == word
            ]
        )
        choices.append(pauses)
    for chosen in itertools.product(*choices):
        yield sum((tokens for tokens, _ in chosen), ()), sum(score for _, score in chosen)


def acoustic_scores(log_probs: np.ndarray, topology: str) -> dict[tuple[int, ...], float]:
    """The best alignment of every token sequence that fits in the frames (T, V)."""
    best: dict[tuple[int, ...], float] = {}
    for frames in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        score = float(sum(row[token] for row, token in zip(log_probs, frames, strict=True)))
        runs = [(token, len(list(run))) for token, run in itertools.groupby(frames) if token]
        most = [length if topology == "modified" else 1 for _, length in runs]
        for counts in itertools.product(*(range(1, n + 1) for n in most)):
            tokens = sum(((t,) * n for (t, _), n in zip(runs, counts, strict=True)), ())
            best[tokens] = max(score, best.get(tokens, -math.inf))
    return best


def sentence_scores(
    lang: LangDir, ngrams: Ngrams | None, acoustic: dict[tuple[int, ...], float], longest: int
) -> dict[tuple[str, ...], tuple[float, float, float, float]]:
    """The best (total, acoustic, lm, lexicon) of each word sequence that fits in the frames."""
    found = {}
    for size in range(longest + 1):
        for words in itertools.product(lang.words[1:], repeat=size):
            lm = ngrams.best(words) if ngrams else 0.0
            fits = [
                (acoustic[tokens] + lm + lexicon, acoustic[tokens], lm, lexicon)
                for tokens, lexicon in pronunciations(lang, words)
                if tokens in acoustic
            ]
            if fits and lm > -math.inf:
                found[words] = max(fits)
    return found
