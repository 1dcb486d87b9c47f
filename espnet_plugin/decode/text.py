"""From token numbers to tokens and text, as ESPnet does it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple

if TYPE_CHECKING:
    from espnet_plugin.stacks.experiment import Experiment


class TokenText:
    """Join tokens to text with ESPnet's own tokenizer.

    Args:
        token_list: all tokens, the blank first.
        token_type: ``bpe``, ``char``, ``word`` or ``phn``; None if there is no text to make.
        bpemodel: the SentencePiece model; needed for ``bpe``.
    """

    def __init__(
        self, token_list: Sequence[str], token_type: Optional[str], bpemodel: Optional[str] = None
    ) -> None:
        self.token_list = list(token_list)
        self.tokenizer: Any = None
        if token_type == "bpe" and bpemodel is None:
            raise ValueError("token_type bpe needs a SentencePiece model: name it with --bpemodel")
        if token_type is not None:
            from espnet2.text.build_tokenizer import build_tokenizer

            self.tokenizer = build_tokenizer(token_type=token_type, bpemodel=bpemodel)

    def __call__(self, token_ids: Sequence[int]) -> Tuple[Optional[str], List[str]]:
        """Text (None without a tokenizer) and tokens of ``token_ids``."""
        tokens = [self.token_list[i] for i in token_ids]
        return (self.tokenizer.tokens2text(tokens) if self.tokenizer else None), tokens


def token_text(
    experiment: Experiment, token_type: Optional[str] = None, bpemodel: Optional[str] = None
) -> TokenText:
    """That of a trained model.

    Args:
        experiment: the model.
        token_type, bpemodel: instead of the configuration's.

    Raises:
        FileNotFoundError: as :func:`find_bpemodel`.
    """
    args = experiment.args
    if bpemodel is None:
        bpemodel = find_bpemodel(getattr(args, "bpemodel", None), experiment.directory)
    return TokenText(experiment.token_list, token_type or args.token_type, bpemodel)


def find_bpemodel(name: Optional[str], directory: Path) -> Optional[str]:
    """The SentencePiece model that a training configuration names.

    Such a name is relative to where training was started. It is looked up from the working
    directory, then from ``directory`` (the experiment) and the folders above it.

    Raises:
        FileNotFoundError: if a name is given and nothing of that name is found.
    """
    if name is None:
        return None
    for folder in (Path(), directory, *directory.resolve().parents):
        if (folder / name).is_file():
            return str(folder / name)
    raise FileNotFoundError(
        f"the SentencePiece model {name} of {directory}/config.yaml is not here: "
        "run from the recipe's folder or name it with --bpemodel"
    )
