"""ESPnet's options of ``asr_inference_k2``: which mean something here, which are refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

# What ESPnet's command offers and decoding with lattices cannot use: any other value than the
# default is refused. (option, default, what to do instead)
UNUSED = (
    ("is_ctc_decoding", True, "leave it out; --lang_dir or --graph decodes with a word graph"),
    ("word_lm_train_config", None, "leave it out"),
    ("word_lm_file", None, "leave it out"),
    ("nbest", 1, "only the best hypothesis is written; lattices hold the others"),
    ("streaming", False, "leave it out"),
    ("dtype", "float32", "k2 works in float32"),
    ("maxlenratio", 0.0, "leave it out"),
    ("minlenratio", 0.0, "leave it out"),
    ("penalty", 0.0, "leave it out"),
    ("lm_weight", 1.0, "use --nnlm_weight for --lm_file, --lm_scale for an n-gram model"),
    ("beam_size", 20, "use --search_beam and --max_active_states"),
    ("allow_variable_data_keys", False, "leave it out"),
)
# Names in ESPnet's --k2_config -> ours; what is not here has the same name.
K2_CONFIG = {
    "search_beam_size": "search_beam",
    "output_beam_size": "output_beam",
    "decoder_weight": "attention_scale",
    "nnlm_weight": "nnlm_scale",
}
SAME = {
    "min_active_states",
    "max_active_states",
    "blank_bias",
    "lattice_weight",
    "am_weight",
    "num_paths",
    "nbest_batch_size",
    "nll_batch_size",
    "lang_dir",
    "use_fgram_rescoring",
    "use_nbest_rescoring",
    "ctc_weight",
}
SWITCHES = (
    ("use_nbest_rescoring", "attention_rescoring"),
    ("use_fgram_rescoring", "whole_lattice_rescoring"),
)
"""ESPnet's switches and the method that each means."""


def read_k2_config(args: argparse.Namespace) -> None:
    """Put the values of ``args.k2_config`` into ``args`` under our names.

    Raises:
        ValueError: for a name that is unknown.
        FileNotFoundError: if the file is not there.
    """
    if args.k2_config is None:
        return
    path = Path(args.k2_config)
    if not path.is_file():
        raise FileNotFoundError(f"--k2_config {path}: not there")
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: not a list of options")
    known = SAME | {name for name, _, _ in UNUSED}
    for name, value in values.items():
        if name not in K2_CONFIG and name not in known:
            raise ValueError(f"{path}: unknown option {name}")
        setattr(args, K2_CONFIG.get(name) or name, value)


def choose_method(args: argparse.Namespace) -> None:
    """Set ``args.method``, ``args.graph`` and ``args.lm`` from ESPnet's options.

    ``use_nbest_rescoring`` is attention rescoring and ``use_fgram_rescoring`` whole-lattice
    rescoring; ``lang_dir`` names a directory whose ``HLG.pt`` is the graph, and whose ``G.pt``
    is the language model of ``use_fgram_rescoring`` unless ``lm`` names another. By default the
    method is ``hlg`` with a graph and ``ctc`` without.

    Raises:
        ValueError: if two of them contradict each other.
    """
    meant = [method for name, method in SWITCHES if getattr(args, name)]
    chosen = {*meant, *([args.method] if args.method is not None else [])}
    if len(chosen) > 1:
        raise ValueError(
            f"--use_nbest_rescoring and --use_fgram_rescoring true mean --method "
            f"{' and '.join(method for _, method in SWITCHES)}: not {' and '.join(sorted(chosen))} "
            "at once; asr.sh takes --use_nbest_rescoring false"
        )
    if args.lang_dir is not None:
        if args.graph is None:
            args.graph = str(Path(args.lang_dir) / "HLG.pt")
        if args.lm is None and args.use_fgram_rescoring:
            args.lm = str(Path(args.lang_dir) / "G.pt")
    default = "hlg" if args.graph is not None else "ctc"
    args.method = chosen.pop() if chosen else default


def check_unused(args: argparse.Namespace) -> None:
    """Refuse what would have no effect.

    Raises:
        ValueError: one line that names the option.
    """
    for name, default, advice in UNUSED:
        value = getattr(args, name, default)
        if value != default:
            raise ValueError(f"--{name} {value}: not used in CTC decoding with k2; {advice}")
    if args.ctc_weight not in (0.5, 1.0):
        raise ValueError(
            f"--ctc_weight {args.ctc_weight}: the search is by the CTC head alone; leave it out "
            "(--am_weight and --decoder_weight weigh rescoring)"
        )
