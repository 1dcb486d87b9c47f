"""The lexicon decoder of flashlight-text with KenLM, on posteriors: what ours is measured beside.

The same beam search as torchaudio's ``ctc_decoder``: a trie of the lexicon with the largest
unigram score smeared towards the root, and the n-gram model queried at the end of each word
(Pratap et al. 2019, wav2letter++).

Two things that its source (LexiconDecoder.cpp) does with pieces, and what is done here so that it
searches the same CTC paths as a decoding graph:

* After a word only the silence token or the blank may follow: the last piece of a word cannot
  last two frames. With ``repeat_last`` each spelling is entered a second time with its last piece
  doubled, which its trie walks as a repeat.
* It reads the silence token's posterior in every frame, also for the index −1 (the value before
  the frame's). The last token, ESPnet's <sos/eos>, is named instead: CTC never emits it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from torch import Tensor

Lexicon = Dict[str, List[Tuple[int, ...]]]


@dataclass(frozen=True)
class Options:
    """What the decoder keeps and how it weighs; flashlight's names.

    Attributes:
        beam_size: hypotheses kept in a frame.
        beam_size_token: best tokens of a frame that extend a hypothesis.
        beam_threshold: hypotheses worse than the best by more than this are dropped.
        lm_weight: multiplies the model's natural logarithm (flashlight's own option multiplies
            KenLM's logarithm to base 10; the conversion is made here).
        word_score: added per word.
    """

    beam_size: int = 50
    beam_size_token: int = 50
    beam_threshold: float = 25.0
    lm_weight: float = 1.0
    word_score: float = 0.0


class FlashlightSearch:
    """Lexicon, model and trie are read once; :meth:`search` takes the options.

    Args:
        lexicon: word -> its segmentations into token numbers.
        vocab_size: V of the posteriors; token 0 is the blank.
        arpa: the n-gram model, ARPA or KenLM's binary file.
        repeat_last: let the last piece of a word last several frames.

    Raises:
        ImportError: if flashlight-text or its KenLM part is absent.
    """

    def __init__(
        self, lexicon: Lexicon, vocab_size: int, arpa: str, repeat_last: bool = True
    ) -> None:
        from flashlight.lib.text.decoder import SmearingMode, Trie
        from flashlight.lib.text.decoder.kenlm import KenLM
        from flashlight.lib.text.dictionary import Dictionary

        self.vocab_size = vocab_size
        self.words = Dictionary()
        for word in ("<unk>", *lexicon):
            self.words.add_entry(word)
        self.unknown = self.words.get_index("<unk>")
        self.words.set_default_index(self.unknown)
        self.model = KenLM(arpa, self.words)
        self.trie = Trie(vocab_size, vocab_size - 1)
        start = self.model.start(False)
        for word, spellings in lexicon.items():
            index = self.words.get_index(word)
            _, score = self.model.score(start, index)
            for spelling in spellings:
                self.trie.insert(list(spelling), index, score)
                if repeat_last:
                    self.trie.insert([*spelling, spelling[-1]], index, score)
        self.trie.smear(SmearingMode.MAX)

    def search(
        self, utterances: Sequence[Tuple[str, Tensor]], options: Options
    ) -> Dict[str, List[str]]:
        """Id -> words of the best hypothesis.

        Args:
            utterances: (id, (T, V) contiguous float32 log posteriors) on the CPU.
            options: beams and weights.
        """
        from flashlight.lib.text.decoder import (
            CriterionType,
            LexiconDecoder,
            LexiconDecoderOptions,
        )

        settings = LexiconDecoderOptions(
            beam_size=options.beam_size,
            beam_size_token=min(options.beam_size_token, self.vocab_size),
            beam_threshold=options.beam_threshold,
            lm_weight=options.lm_weight * math.log(10.0),
            word_score=options.word_score,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=False,
            criterion_type=CriterionType.CTC,
        )
        decoder = LexiconDecoder(
            settings, self.trie, self.model, self.vocab_size - 1, 0, self.unknown, [], False
        )
        found = {}
        for name, log_probs in utterances:
            decoder.decode_begin()
            decoder.decode_step(log_probs.data_ptr(), *log_probs.shape)
            decoder.decode_end()
            best = decoder.get_best_hypothesis()
            found[name] = [self.words.get_entry(i) for i in best.words if i >= 0]
        return found
