"""SentencePiece tokens and ESPnet's token list."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, List, Tuple

from espnet_plugin.atomic import PathLike, atomic_dir

BLANK, UNK, SOS_EOS = "<blank>", "<unk>", "<sos/eos>"


def read_transcripts(paths: Iterable[PathLike]) -> List[str]:
    """The transcripts of Kaldi ``text`` files, without their utterance ids.

    Raises:
        ValueError: a file without a single word.
    """
    sentences = []
    for path in paths:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        here = [parts[1] for parts in (line.split(maxsplit=1) for line in lines) if len(parts) > 1]
        if not here:
            raise ValueError(f"{path}: no transcript in it; a line is <utterance id> <words>")
        sentences += here
    return sentences


def train_tokens(
    sentences: List[str], out_dir: PathLike, vocab_size: int, model_type: str = "unigram"
) -> Tuple[Path, Path]:
    """Train a SentencePiece model and write ``bpe.model`` and ``tokens.txt`` to ``out_dir``.

    The token list is in ESPnet's order: blank (index 0, as CTC wants it), unknown, the pieces,
    start/end of sentence; so it has ``vocab_size + 2`` lines.

    Args:
        sentences: the training text.
        out_dir: replaced as a whole, or left as it was on an error.
        vocab_size: pieces, the unknown one included.
        model_type: "unigram" or "bpe".

    Returns:
        The paths of the model and of the token list.

    Raises:
        ValueError: a vocabulary that the text is too small or too rich in letters for.
    """
    import sentencepiece

    with atomic_dir(out_dir) as temporary:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_prefix=str(temporary / "bpe"),
                vocab_size=vocab_size,
                model_type=model_type,
                character_coverage=1.0,
                bos_id=-1,
                eos_id=-1,
                unk_id=0,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as e:
            reason = str(e).strip().splitlines()[-1]
            raise ValueError(f"no {model_type} vocabulary of {vocab_size}: {reason}") from None
        model = sentencepiece.SentencePieceProcessor()
        model.load(str(temporary / "bpe.model"))
        pieces = [model.id_to_piece(i) for i in range(1, model.get_piece_size())]
        (temporary / "tokens.txt").write_text(
            "".join(f"{token}\n" for token in [BLANK, UNK, *pieces, SOS_EOS]), encoding="utf-8"
        )
    return Path(out_dir) / "bpe.model", Path(out_dir) / "tokens.txt"
