"""The command line of decoding."""

from __future__ import annotations

import argparse
from typing import Any, Dict

from espnet2.utils import config_argparse
from espnet2.utils.types import str2bool, str2triple_str, str_or_none

from espnet_plugin.decode.espnet_options import UNUSED
from espnet_plugin.decode.methods import METHODS

STORE_HERE = "OUTPUT_DIR/lattices"


def get_parser() -> argparse.ArgumentParser:
    """The options: ESPnet 202412's, and ours."""
    parser = config_argparse.ArgumentParser(
        description="Decode with a CTC model and k2",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    levels = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG", "NOTSET")
    parser.add_argument("--log_level", type=str.upper, default="INFO", choices=levels)
    parser.add_argument("--output_dir", required=True, help="where the results go")
    parser.add_argument("--ngpu", type=int, default=0, choices=(0, 1), help="1: on the GPU")
    parser.add_argument("--nj", type=int, default=1, help="processes, each with a part")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help="accepted; nothing here is random")
    parser.add_argument("--dtype", default="float32", help=argparse.SUPPRESS)
    parser.add_argument("--num_workers", type=int, default=1, help="processes that read ahead")
    parser.add_argument(
        "--memory_gb",
        type=float,
        help="memory of all processes beyond model and graph, GiB; half of what is free by default",
    )
    _add_data(parser)
    _add_model(parser)
    _add_search(parser)
    _add_rescoring(parser)
    _add_unused(parser)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Data")
    group.add_argument("--data_dir", help="Kaldi directory with wav.scp")
    group.add_argument(
        "--data_path_and_name_and_type",
        type=str2triple_str,
        action="append",
        help="instead of --data_dir, as ESPnet's: path,speech,type",
    )
    group.add_argument(
        "--from_lattices", help="instead of speech: lattices that --lattice_dir stored"
    )
    group.add_argument("--key_file", type=str_or_none, help="decode the utterances of this file")
    group.add_argument("--text", help="reference text of nbest_oracle; DATA_DIR/text by default")
    group.add_argument(
        "--batch_seconds", type=float, default=120.0, help="seconds of a batch, padding included"
    )
    group.add_argument("--batch_size", type=int, help="most utterances of a batch; asr.sh gives 1")


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Model")
    group.add_argument("--exp_dir", help="directory that ESPnet's training wrote")
    group.add_argument("--checkpoint", help="file in --exp_dir; the best average by default")
    group.add_argument("--asr_train_config", help="instead of --exp_dir: its config.yaml")
    group.add_argument("--asr_model_file", help="instead of --checkpoint: the file beside it")
    group.add_argument("--model_tag", help="packed model: a file, or a name to download")
    group.add_argument("--token_type", type=str_or_none, help="instead of the configuration's")
    group.add_argument("--bpemodel", type=str_or_none, help="instead of the configuration's")


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Search")
    group.add_argument("--method", choices=METHODS, help="ctc by default; hlg with --graph")
    group.add_argument("--graph", type=str_or_none, help="what compile_graph wrote")
    group.add_argument("--lang_dir", type=str_or_none, help="its HLG.pt is the graph")
    group.add_argument("--topology", default="standard", choices=("standard", "modified"))
    group.add_argument("--search_beam", type=float, default=20.0, help="as in k2 and icefall")
    group.add_argument("--output_beam", type=float, default=8.0, help="as in k2 and icefall")
    group.add_argument("--min_active_states", type=int, default=30, help="as in k2 and icefall")
    group.add_argument("--max_active_states", type=int, default=10000, help="as in k2 and icefall")
    group.add_argument("--blank_bias", type=float, default=0.0, help="added to the blank's score")
    group.add_argument("--lattice_weight", type=float, default=1.0, help="factor of all scores")
    group.add_argument(
        "--lattice_dir",
        type=str_or_none,
        default=STORE_HERE,
        help="where the lattices go; none: they are not stored",
    )
    group.add_argument("--k2_config", help="YAML with ESPnet's names of these; it goes first")


def _add_rescoring(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Scores and rescoring")
    group.add_argument("--acoustic_scale", type=float, default=1.0, help="of CTC posteriors")
    group.add_argument("--hlg_scale", type=float, default=1.0, help="of the graph's scores")
    group.add_argument("--lm_scale", type=float, default=1.0, help="of n-gram scores within these")
    group.add_argument(
        "--word_scale", type=float, default=0.0, help="added for each word; below 0: a penalty"
    )
    group.add_argument(
        "--attention_scale", "--decoder_weight", type=float, default=0.5, help="of the decoder"
    )
    group.add_argument(
        "--nnlm_scale", "--nnlm_weight", type=float, default=1.0, help="of ESPnet's LM"
    )
    group.add_argument(
        "--am_weight", type=float, default=1.0, help="of CTC scores in rescoring alone"
    )
    group.add_argument("--lm", type=str_or_none, help="ARPA, or G.pt for whole lattices")
    group.add_argument("--lm_train_config", type=str_or_none, help="of ESPnet's LM")
    group.add_argument("--lm_file", type=str_or_none, help="its parameters")
    group.add_argument("--num_paths", type=int, default=100, help="length of n-best lists")
    group.add_argument("--nll_batch_size", type=int, default=100, help="hypotheses scored at once")
    group.add_argument("--nbest_batch_size", type=int, help="accepted; memory is looked after")
    for name in ("use_nbest_rescoring", "use_fgram_rescoring"):
        group.add_argument(f"--{name}", type=str2bool, default=False, help="ESPnet's: a --method")


def _add_unused(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("ESPnet's, refused unless they are as by default")
    types: Dict[type, Any] = {bool: str2bool, int: int, float: float, str: str}
    for name, default, _ in UNUSED:
        if name != "dtype":
            kind = types.get(type(default), str_or_none)
            group.add_argument(f"--{name}", type=kind, default=default, help=argparse.SUPPRESS)
    group.add_argument("--ctc_weight", type=float, default=0.5, help=argparse.SUPPRESS)
