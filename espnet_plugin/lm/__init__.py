"""n-gram language models: ARPA files, modified Kneser-Ney training, queries."""

from espnet_plugin.lm.kneser_ney import train_ngram
from espnet_plugin.lm.ngram import NGram, NGramError

__all__ = ["NGram", "NGramError", "train_ngram"]
