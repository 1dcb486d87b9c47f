"""Dictionaries and the papers' formulas, to check the arrays of espnet_plugin.lm against."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

NGramTuple = Tuple[str, ...]


class NaiveKneserNey:
    """Interpolated modified Kneser-Ney by Chen & Goodman 1999 and Heafield et al. 2013."""

    def __init__(
        self,
        sentences: Sequence[Sequence[str]],
        order: int,
        vocabulary: Optional[Sequence[str]] = None,
        prune: Sequence[int] = (0,),
        base_counts: Optional[Mapping[str, int]] = None,
    ) -> None:
        known = {word for line in sentences for word in line} if vocabulary is None else vocabulary
        base_counts = base_counts or {}
        self.words = sorted({*known, *base_counts, "<unk>", "</s>"})
        self.order = order
        self.prune = [*prune, *[prune[-1]] * order][:order]
        self.raw: Counter = Counter()
        for line in sentences:
            text = ["<s>", *(w if w in self.words else "<unk>" for w in line), "</s>"]
            for n in range(1, order + 1):
                self.raw.update(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
        self.left: Dict[NGramTuple, set] = defaultdict(set)
        for gram in self.raw:
            self.left[gram[1:]].add(gram[0])
        self.following: Dict[NGramTuple, List[str]] = defaultdict(list)
        for gram in self.raw:
            if gram != ("<s>",):
                self.following[gram[:-1]].append(gram[-1])
        total = sum(base_counts.values()) + len(self.words)
        self.base = {w: (base_counts.get(w, 0) + 1) / total for w in self.words}
        self.discounts = [self._discounts(n) for n in range(1, order + 1)]

    def adjusted(self, gram: NGramTuple) -> int:
        """Raw for the highest order and after <s>, else the number of different left words."""
        if len(gram) == self.order or gram[0] == "<s>":
            return self.raw[gram]
        return len(self.left[gram])

    def _discounts(self, n: int) -> Tuple[float, float, float]:
        of_count = Counter(self.adjusted(g) for g in self.raw if len(g) == n and g != ("<s>",))
        n1, n2, n3, n4 = (of_count[j] for j in (1, 2, 3, 4))
        if 0 in (n1, n2, n3):
            return (0.5, 1.0, 1.5)
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        return found if min(found) >= 0 else (0.5, 1.0, 1.5)

    def kept(self, gram: NGramTuple) -> bool:
        """In the text, and not pruned."""
        threshold = self.prune[len(gram) - 1]
        return self.raw[gram] > threshold

    def prob(self, word: str, history: NGramTuple) -> float:
        """p(word | history) for a history of less than ``order`` words."""
        lower = self.prob(word, history[1:]) if history else self.base[word]
        following = [history + (w,) for w in self.following.get(history, ())]
        if not following:
            return lower

        def taken(gram: NGramTuple) -> float:
            count = self.adjusted(gram)
            return self.discounts[len(gram) - 1][min(count, 3) - 1] if self.kept(gram) else count

        total = sum(self.adjusted(gram) for gram in following)
        free = sum(taken(gram) for gram in following)
        gram = history + (word,)
        own = self.adjusted(gram) - taken(gram) if self.raw[gram] else 0.0
        return own / total + free / total * lower


class NaiveArpa:
    """Back-off from a dictionary of an ARPA file's lines."""

    def __init__(self, path: Path) -> None:
        self.probs: Dict[NGramTuple, float] = {}
        self.backoffs: Dict[NGramTuple, float] = {}
        order = 0
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("\\") and line.endswith("-grams:"):
                order = int(line[1 : line.index("-")])
            elif order and line and not line.startswith("\\"):
                prob, gram, *backoff = line.split("\t")
                words = tuple(gram.split(" "))
                assert len(words) == order
                self.probs[words] = float(prob)
                self.backoffs[words] = float(backoff[0]) if backoff else 0.0

    def log10_prob(self, word: str, history: NGramTuple) -> float:
        """log10 p(word | history)."""
        gram = history + (word,)
        return self.probs[gram] if gram in self.probs else self.backed_off(word, history)

    def backed_off(self, word: str, history: NGramTuple) -> float:
        """The same by way of the shorter history, whether the n-gram is there or not."""
        return self.backoffs.get(history, 0.0) + self.log10_prob(word, history[1:])

    def score(self, sentence: Sequence[str], order: int) -> float:
        """Natural log probability of a sentence between <s> and </s>."""
        words = {gram[0] for gram in self.probs if len(gram) == 1}
        text = ["<s>", *(w if w in words else "<unk>" for w in sentence), "</s>"]
        return math.log(10) * sum(
            self.log10_prob(text[i], tuple(text[max(0, i - order + 1) : i]))
            for i in range(1, len(text))
        )
