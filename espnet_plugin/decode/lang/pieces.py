"""Words spelt in the pieces of a SentencePiece model."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from espnet_plugin.atomic import PathLike
from espnet_plugin.decode.lang.lexicon import Entry

_CHUNK = 10000


def segment_words(
    words: Sequence[str], model: PathLike, tokens: Sequence[str], num_segmentations: int = 1
) -> Tuple[List[Entry], Dict[str, str]]:
    """Segment words as the model does.

    Args:
        words: distinct words.
        model: a SentencePiece model.
        tokens: the model's outputs; ``<unk>`` among them spells nothing.
        num_segmentations: how many of the most probable segmentations become pronunciations
            (Kudo 2018, section 3.3; exact n-best, no sampling). More than one needs a unigram
            model. A word may have fewer.

    Returns:
        The pronunciations, all of probability 1, the most probable segmentation of a word
        first; and the words that have none, with the pieces of their best segmentation that
        are not in ``tokens``.

    Raises:
        FileNotFoundError: no such model.
        ValueError: the file is no model, several segmentations of another type of model.
    """
    import sentencepiece

    if num_segmentations < 1:
        raise ValueError(f"num_segmentations must be above 0, not {num_segmentations}")
    if not Path(model).is_file():
        raise FileNotFoundError(f"{model}: no such SentencePiece model")
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.load(str(model))
    except RuntimeError:
        raise ValueError(f"{model}: not a SentencePiece model") from None
    ids = {token: i for i, token in enumerate(tokens) if i > 0 and token != "<unk>"}
    entries: List[Entry] = []
    unspelt: Dict[str, str] = {}
    for begin in range(0, len(words), _CHUNK):
        chunk = list(words[begin : begin + _CHUNK])
        if num_segmentations == 1:
            found = [[pieces] for pieces in processor.encode(chunk, out_type=str)]
        else:
            found = [processor.nbest_encode_as_pieces(word, num_segmentations) for word in chunk]
            if not all(found):
                raise ValueError(
                    f"{model}: it gives no n-best segmentations; several need a unigram model"
                )
        for word, segmentations in zip(chunk, found, strict=True):
            known = [pieces for pieces in segmentations if pieces and all(p in ids for p in pieces)]
            if not known:
                unspelt[word] = " ".join(p for p in segmentations[0] if p not in ids)
            for pieces in known:
                entries.append(Entry(word, tuple(ids[piece] for piece in pieces)))
    return entries, unspelt
