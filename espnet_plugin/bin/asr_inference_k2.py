"""Decode with a CTC model and k2; takes all options of ``espnet2.bin.asr_inference_k2``.

In an ESPnet recipe (``./asr.sh --use_k2 true --python "python3 -m espnet_plugin" …``) it takes
the place of ESPnet's command. By itself::

    python -m espnet_plugin.bin.asr_inference_k2 --exp_dir exp/asr --data_dir data/test \\
        --output_dir exp/asr/decode/test
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import yaml
from espnet2.utils import config_argparse
from espnet2.utils.types import str2bool, str2triple_str, str_or_none

from espnet_plugin.stacks.batches import DataError

# What ESPnet's command offers, and what decoding over a CTC topology cannot use: any other value
# than the default is refused. (option, default, what to do instead)
UNUSED = (
    ("use_nbest_rescoring", False, "pass --use_nbest_rescoring false"),
    ("use_fgram_rescoring", False, "leave it out"),
    ("is_ctc_decoding", True, "CTC decoding is what this command does"),
    ("lang_dir", None, "leave it out"),
    ("lm_train_config", None, "pass --use_lm false to asr.sh"),
    ("lm_file", None, "pass --use_lm false to asr.sh"),
    ("word_lm_train_config", None, "leave it out"),
    ("word_lm_file", None, "leave it out"),
    ("nbest", 1, "only the best hypothesis is written; lattices hold the others"),
    ("streaming", False, "leave it out"),
    ("dtype", "float32", "k2 works in float32"),
    ("maxlenratio", 0.0, "leave it out"),
    ("minlenratio", 0.0, "leave it out"),
    ("penalty", 0.0, "leave it out"),
    ("lm_weight", 1.0, "leave it out"),
    ("beam_size", 20, "use --search_beam and --max_active_states"),
    ("allow_variable_data_keys", False, "leave it out"),
)
# Names in ESPnet's --k2_config -> ours.
K2_CONFIG = {
    "search_beam_size": "search_beam",
    "output_beam_size": "output_beam",
    "min_active_states": "min_active_states",
    "max_active_states": "max_active_states",
    "blank_bias": "blank_bias",
    "lattice_weight": "lattice_weight",
}
# Weights and sizes of rescoring: no effect while it is off, and asr.sh and its YAML name them.
RESCORING = {
    "am_weight",
    "decoder_weight",
    "nnlm_weight",
    "num_paths",
    "nbest_batch_size",
    "nll_batch_size",
}


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
    parser.add_argument("--seed", type=int, default=0, help="accepted; nothing here is random")
    parser.add_argument("--dtype", default="float32", help=argparse.SUPPRESS)
    parser.add_argument("--num_workers", type=int, default=1, help="processes that read ahead")

    group = parser.add_argument_group("Data")
    group.add_argument("--data_dir", help="Kaldi directory with wav.scp")
    group.add_argument(
        "--data_path_and_name_and_type",
        type=str2triple_str,
        action="append",
        help="instead of --data_dir, as ESPnet's: path,speech,type",
    )
    group.add_argument("--key_file", type=str_or_none, help="decode the utterances of this file")
    group.add_argument(
        "--batch_seconds", type=float, default=120.0, help="seconds of a batch, padding included"
    )
    group.add_argument("--batch_size", type=int, help="most utterances of a batch; asr.sh gives 1")

    group = parser.add_argument_group("Model")
    group.add_argument("--exp_dir", help="directory that ESPnet's training wrote")
    group.add_argument("--checkpoint", help="file in --exp_dir; the best average by default")
    group.add_argument("--asr_train_config", help="instead of --exp_dir: its config.yaml")
    group.add_argument("--asr_model_file", help="instead of --checkpoint: the file beside it")
    group.add_argument("--model_tag", help="packed model: a file, or a name to download")
    group.add_argument("--token_type", type=str_or_none, help="instead of the configuration's")
    group.add_argument("--bpemodel", type=str_or_none, help="instead of the configuration's")

    group = parser.add_argument_group("Search")
    group.add_argument("--method", default="ctc", choices=("ctc", "greedy"))
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
        default="OUTPUT_DIR/lattices",
        help="where the lattices go; none: they are not stored",
    )
    group.add_argument("--k2_config", help="YAML with ESPnet's names of these; it goes first")

    group = parser.add_argument_group("ESPnet's, refused unless they are as by default")
    types: Dict[type, Any] = {bool: str2bool, int: int, float: float, str: str}
    for name, default, _ in UNUSED:
        if name not in ("dtype", "lang_dir", "use_fgram_rescoring"):
            kind = types.get(type(default), str_or_none)
            group.add_argument(f"--{name}", type=kind, default=default, help=argparse.SUPPRESS)
    group.add_argument("--ctc_weight", type=float, default=0.5, help=argparse.SUPPRESS)
    for name in ("num_paths", "nbest_batch_size", "nll_batch_size"):
        group.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    return parser


def read_k2_config(args: argparse.Namespace) -> None:
    """Put the values of ``args.k2_config`` into ``args`` under our names.

    Raises:
        ValueError: for a name that is unknown.
    """
    if args.k2_config is None:
        return
    values = yaml.safe_load(Path(args.k2_config).read_text(encoding="utf-8")) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{args.k2_config}: not a list of options")
    unused = {name for name, _, _ in UNUSED}
    for name, value in values.items():
        if name in K2_CONFIG:
            setattr(args, K2_CONFIG[name], value)
        elif name in unused or name == "ctc_weight":
            setattr(args, name, value)
        elif name not in RESCORING:
            raise ValueError(f"{args.k2_config}: unknown option {name}")


def check_options(args: argparse.Namespace) -> None:
    """Refuse what would have no effect, and what is missing or given twice.

    Raises:
        ValueError: one line that names the option.
    """
    for name, default, advice in UNUSED:
        value = getattr(args, name, default)
        if value != default:
            raise ValueError(f"--{name} {value}: not used in CTC decoding with k2; {advice}")
    if args.ctc_weight not in (0.5, 1.0):
        raise ValueError(f"--ctc_weight {args.ctc_weight}: only the CTC head is used; leave it out")
    models = [args.exp_dir, args.asr_train_config or args.asr_model_file, args.model_tag]
    if sum(value is not None for value in models) != 1:
        raise ValueError("name one model: --exp_dir, --asr_train_config or --model_tag")
    if args.checkpoint and args.exp_dir is None:
        raise ValueError("--checkpoint belongs to --exp_dir; use --asr_model_file")
    if (args.data_dir is None) == (args.data_path_and_name_and_type is None):
        raise ValueError("name the speech: either --data_dir or --data_path_and_name_and_type")
    for _, name, _ in args.data_path_and_name_and_type or [("", "speech", "")]:
        if name != "speech" or len(args.data_path_and_name_and_type or [0]) > 1:
            raise ValueError("--data_path_and_name_and_type: one is needed, named speech")
    if args.method == "greedy" and args.lattice_dir not in (None, "OUTPUT_DIR/lattices"):
        raise ValueError("--lattice_dir: --method greedy makes no lattices")


def unpack_model(tag: str, directory: Path) -> Dict[str, str]:
    """Files of a packed model: a local archive is unpacked to ``directory``.

    Raises:
        ImportError: if ``tag`` is no file here and espnet_model_zoo, which downloads, is absent.
    """
    if Path(tag).is_file():
        from espnet2.main_funcs.pack_funcs import unpack

        return unpack(tag, directory, use_cache=False)
    try:
        from espnet_model_zoo.downloader import ModelDownloader
    except ImportError:
        raise ImportError(
            f"--model_tag {tag}: no such file, and to download a model install espnet_model_zoo"
        ) from None
    return ModelDownloader().download_and_unpack(tag)


def find_model(args: argparse.Namespace) -> Tuple[Path, Optional[str]]:
    """Experiment directory and checkpoint (None: the best average) that the options name.

    Raises:
        ValueError: if configuration and checkpoint are not in one directory.
        ImportError: as :func:`unpack_model`.
    """
    if args.exp_dir is not None:
        return Path(args.exp_dir), args.checkpoint
    config, model = args.asr_train_config, args.asr_model_file
    if args.model_tag is not None:
        files = unpack_model(args.model_tag, Path(args.output_dir) / "model")
        config, model = files["asr_train_config"], files["asr_model_file"]
    directory = Path(config if config is not None else model).parent
    if config is not None and Path(config).name != "config.yaml":
        raise ValueError(f"--asr_train_config {config}: must be an experiment's config.yaml")
    if model is not None and Path(model).parent.resolve() != directory.resolve():
        raise ValueError(f"--asr_model_file {model}: must be beside {config}")
    return directory, Path(model).name if model is not None else None


def setup(args: argparse.Namespace) -> Dict[str, Any]:
    """The arguments of :func:`espnet_plugin.decode.corpus.decode_corpus` that the options mean.

    Raises:
        ValueError, FileNotFoundError, ImportError: one line that names what is wrong.
    """
    read_k2_config(args)
    check_options(args)
    from espnet_plugin.decode.data import model_preprocess, model_rate, read_ids
    from espnet_plugin.decode.decoder import CtcDecoder
    from espnet_plugin.decode.lattice import Beams

    exp_dir, checkpoint = find_model(args)
    if args.data_dir is not None:
        source = (str(Path(args.data_dir) / "wav.scp"), "speech", "sound")
        if (Path(args.data_dir) / "segments").exists():
            raise DataError(f"{args.data_dir}/segments: cut recordings are not read")
    else:
        source = args.data_path_and_name_and_type[0]
    names = read_ids(args.key_file or source[0])
    beams = (args.search_beam, args.output_beam, args.min_active_states, args.max_active_states)
    search = {
        "method": args.method,
        "beams": Beams(*beams),
        "topology": args.topology,
        "blank_bias": args.blank_bias,
        "lattice_weight": args.lattice_weight,
    }
    texts = {"token_type": args.token_type, "bpemodel": args.bpemodel}
    device = "cuda" if args.ngpu else "cpu"
    decoder = CtcDecoder.from_experiment(exp_dir, checkpoint, device, **texts, **search)
    assert decoder.experiment is not None
    model_file, config = decoder.experiment.checkpoint, decoder.experiment.args
    lattice_dir = args.lattice_dir
    if args.method == "greedy":
        lattice_dir = None
    elif lattice_dir == "OUTPUT_DIR/lattices":
        lattice_dir = os.path.join(args.output_dir, "lattices")
    return {
        "decoder": decoder,
        "source": source,
        "names": names,
        "output_dir": args.output_dir,
        "lattice_dir": lattice_dir,
        "job": [str(model_file), os.stat(model_file).st_mtime_ns, search, texts],
        "num_workers": args.num_workers,
        "max_seconds": args.batch_seconds,
        "max_size": args.batch_size,
        "preprocess": model_preprocess(config),
        "rate": model_rate(config),
    }


def main(cmd: Optional[Sequence[str]] = None) -> None:
    """Command line."""
    args = get_parser().parse_args(cmd)
    logging.basicConfig(
        level=args.log_level,
        format="%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s",
    )
    try:
        arguments = setup(args)
    except (ValueError, ImportError, FileNotFoundError) as error:
        sys.exit(f"asr_inference_k2: {error}")
    from espnet_plugin.decode.corpus import decode_corpus

    try:
        summary = decode_corpus(**arguments)
    except DataError as error:
        sys.exit(f"asr_inference_k2: {error}")
    logging.info(
        "%s: %d utterances, real-time factor %s (encoder %s, search %s)",
        args.output_dir,
        summary["utterances"],
        summary["rtf"],
        summary["encoder_rtf"],
        summary["search_rtf"],
    )


if __name__ == "__main__":
    main()
