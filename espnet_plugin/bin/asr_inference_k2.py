"""Decode with a CTC model and k2; takes all options of ``espnet2.bin.asr_inference_k2``.

In an ESPnet recipe (``./asr.sh --use_k2 true --python "python3 -m espnet_plugin" …``) it takes
the place of ESPnet's command. By itself::

    python -m espnet_plugin.bin.asr_inference_k2 --exp_dir exp/asr --data_dir data/test \\
        --graph data/lang/HLG.pt --output_dir exp/asr/decode/test

With ``--from_lattices DIR`` it gives stored lattices another method or language model.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from espnet_plugin.decode.espnet_options import check_unused, choose_method, read_k2_config
from espnet_plugin.decode.jobs import JobError
from espnet_plugin.decode.methods import FROM_LATTICES, check_graph
from espnet_plugin.decode.model_files import find_model, load_nnlm
from espnet_plugin.decode.options import STORE_HERE, get_parser
from espnet_plugin.decode.results import JOURNAL
from espnet_plugin.primitives import bound_primitives
from espnet_plugin.stacks.batches import DataError

Job = Callable[[], Dict[str, Any]]


def check_options(args: argparse.Namespace) -> None:
    """Refuse what would have no effect, and what is missing or given twice.

    Raises:
        ValueError: one line that names the option.
    """
    check_unused(args)
    of_lm = "compile_graph --kind G" if str(args.lm).endswith(".pt") else "train_ngram"
    for name, made_by in (("graph", "compile_graph"), ("lm", of_lm)):
        file = getattr(args, name)
        unread = name == "graph" and args.from_lattices is not None  # lattices have its scores
        if file is not None and not unread and not Path(file).is_file():
            raise FileNotFoundError(f"--{name} {file}: not there; {made_by} makes one")
    if args.nj < 1:
        raise ValueError(f"--nj {args.nj}: it must be 1 or above")
    models = [args.exp_dir, args.asr_train_config or args.asr_model_file, args.model_tag]
    data = [args.data_dir, args.data_path_and_name_and_type]
    if args.from_lattices is not None:
        given = [value for value in (*models, *data) if value is not None]
        if given:
            raise ValueError("--from_lattices: neither model nor speech are used with it")
        if args.method not in FROM_LATTICES:
            raise ValueError(
                f"--from_lattices: --method must be one of {', '.join(FROM_LATTICES)}, "
                f"not {args.method}"
            )
        return
    if sum(value is not None for value in models) != 1:
        raise ValueError("name one model: --exp_dir, --asr_train_config or --model_tag")
    if args.checkpoint and args.exp_dir is None:
        raise ValueError("--checkpoint belongs to --exp_dir; use --asr_model_file")
    if sum(value is not None for value in data) != 1:
        raise ValueError("name the speech: either --data_dir or --data_path_and_name_and_type")
    for _, name, _ in args.data_path_and_name_and_type or [("", "speech", "")]:
        if name != "speech" or len(args.data_path_and_name_and_type or [0]) > 1:
            raise ValueError("--data_path_and_name_and_type: one is needed, named speech")
    check_graph(args.method, args.graph is not None)  # now rather than with the model read
    if args.method == "greedy" and args.lattice_dir not in (None, STORE_HERE):
        raise ValueError("--lattice_dir: --method greedy makes no lattices")


def setup(args: argparse.Namespace) -> Dict[str, Any]:
    """The arguments of :func:`espnet_plugin.decode.corpus.decode_corpus` that the options mean.

    Raises:
        ValueError, FileNotFoundError, ImportError: one line that names what is wrong.
    """
    from espnet_plugin.data.kaldi import read_ids
    from espnet_plugin.decode.data import model_preprocess, model_rate
    from espnet_plugin.decode.decoder import CtcDecoder
    from espnet_plugin.decode.lattice import Beams

    exp_dir, checkpoint = find_model(args)
    source = _source(args)
    names = read_ids(args.key_file or source[0])
    beams = (args.search_beam, args.output_beam, args.min_active_states, args.max_active_states)
    device = "cuda" if args.ngpu else "cpu"
    search = {
        "method": args.method,
        "graph": args.graph,
        "beams": Beams(*beams),
        "topology": args.topology,
        "blank_bias": args.blank_bias,
        "lattice_weight": args.lattice_weight,
        "scales": _scales(args),
        "am_weight": args.am_weight,
        "lm": args.lm,
        "num_paths": args.num_paths,
        "nll_batch_size": args.nll_batch_size,
    }
    texts = {"token_type": args.token_type, "bpemodel": args.bpemodel}
    nnlm = load_nnlm(args.lm_train_config, args.lm_file, device)
    references = _references(args, Path(source[0]).parent, names)
    decoder = CtcDecoder.from_experiment(exp_dir, checkpoint, device, **texts, **search, nnlm=nnlm)
    assert decoder.experiment is not None
    config = decoder.experiment.args
    files = [decoder.experiment.checkpoint, args.graph, args.lm, args.lm_file]
    return {
        "decoder": decoder,
        "source": source,
        "names": names,
        "output_dir": args.output_dir,
        "lattice_dir": _lattice_dir(args),
        "part": args.part,
        "job": [_stamps(files), search, texts],
        "num_workers": args.num_workers,
        "max_seconds": args.batch_seconds,
        "max_size": args.batch_size,
        "preprocess": model_preprocess(config),
        "rate": model_rate(config),
        "references": references,
    }


def setup_stored(args: argparse.Namespace) -> Dict[str, Any]:
    """The arguments of :func:`espnet_plugin.decode.stored.rescore_store` that the options mean.

    Raises:
        ValueError, FileNotFoundError, ImportError: one line that names what is wrong.
    """
    from espnet_plugin.compat import require_k2
    from espnet_plugin.data.kaldi import read_ids
    from espnet_plugin.decode.methods import Rescorer
    from espnet_plugin.decode.store import LatticeStore
    from espnet_plugin.decode.stored import store_text

    require_k2()
    store = LatticeStore(args.from_lattices)
    names = read_ids(args.key_file) if args.key_file else store.utterances
    rescorer = Rescorer(
        args.method,
        store_text(store, args.token_type, args.bpemodel),
        store.meta["words"],
        scales=_scales(args),
        lm=args.lm,
        num_paths=args.num_paths,
        device="cuda" if args.ngpu else "cpu",
    )
    return {
        "store": store,
        "rescorer": rescorer,
        "output_dir": args.output_dir,
        "names": names,
        "references": _references(args, None, names),
        "job": [_stamps([args.lm]), args.num_paths],
        "part": args.part,
    }


def _source(args: argparse.Namespace) -> Tuple[str, str, str]:
    if args.data_dir is None:
        return tuple(args.data_path_and_name_and_type[0])  # type: ignore[return-value]
    if (Path(args.data_dir) / "segments").exists():
        raise DataError(f"{args.data_dir}/segments: cut recordings are not read")
    return (str(Path(args.data_dir) / "wav.scp"), "speech", "sound")


def _lattice_dir(args: argparse.Namespace) -> Optional[str]:
    if args.method == "greedy" or args.from_lattices is not None:
        return None
    if args.lattice_dir == STORE_HERE:
        return os.path.join(args.output_dir, "lattices")
    return args.lattice_dir


def _scales(args: argparse.Namespace) -> Any:
    from espnet_plugin.decode.scales import Scales

    return Scales(
        acoustic=args.acoustic_scale,
        hlg=args.hlg_scale,
        lm=args.lm_scale,
        attention=args.attention_scale,
        nnlm=args.nnlm_scale,
        word=args.word_scale,
    )


def _references(
    args: argparse.Namespace, directory: Optional[Path], names: Sequence[str]
) -> Optional[Dict[str, str]]:
    from espnet_plugin.data.kaldi import read_table

    if args.method != "nbest_oracle":
        return None
    if args.text is None and directory is None:
        raise ValueError("--method nbest_oracle needs the reference text: --text")
    path = Path(args.text) if args.text is not None else Path(str(directory)) / "text"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; name the reference text with --text")
    texts = read_table(path)
    missing = [name for name in names if name not in texts]
    if missing:
        raise DataError(f"{path}: no {missing[0]} ({len(missing)} of {len(names)} missing)")
    return {name: texts[name] for name in names}


def _stamps(files: Sequence[Any]) -> List[Any]:
    return [(str(file), os.stat(file).st_mtime_ns) for file in files if file is not None]


def in_parts(args: argparse.Namespace, cmd: Sequence[str]) -> Dict[str, Any]:
    """Decode with ``--nj`` processes; the content of ``rtf.json``.

    Raises:
        DataError, JobError: one line that names what is wrong.
    """
    from espnet_plugin.data.kaldi import read_ids
    from espnet_plugin.decode.jobs import FOLDER, decoding_command, run_parts
    from espnet_plugin.decode.limits import GIB, available_memory
    from espnet_plugin.decode.results import finish
    from espnet_plugin.decode.store import LatticeStore, LatticeWriter, read_meta

    lattice_dir = _lattice_dir(args)
    if args.from_lattices is not None and args.key_file is None:
        names = LatticeStore(args.from_lattices).utterances
    else:
        names = read_ids(args.key_file or _source(args)[0])
    memory = args.memory_gb or available_memory() / GIB / 2
    command = decoding_command([*cmd, "--lattice_dir", lattice_dir or "none"])
    if memory:
        command += ["--memory_gb", str(memory / args.nj)]
    entries = run_parts(command, names, args.output_dir, args.nj)
    writer = None
    if lattice_dir is not None:
        writer = LatticeWriter(lattice_dir, read_meta(lattice_dir))
    device = "cuda" if args.ngpu else "cpu"
    summary = finish(entries, names, args.output_dir, writer, args.method, device)
    shutil.rmtree(Path(args.output_dir) / FOLDER)
    return summary


def prepare(args: argparse.Namespace, cmd: Sequence[str]) -> Job:
    """What the options ask for, with model and graph loaded.

    Raises:
        ValueError, FileNotFoundError, ImportError: one line that names what is wrong.
    """
    read_k2_config(args)
    choose_method(args)
    check_options(args)
    if args.nj > 1:
        return partial(in_parts, args, cmd)
    if args.from_lattices is not None:
        from espnet_plugin.decode.stored import rescore_store

        return partial(rescore_store, **setup_stored(args))
    from espnet_plugin.decode.corpus import decode_corpus

    return partial(decode_corpus, **setup(args))


def main(cmd: Optional[Sequence[str]] = None, watched: bool = False) -> None:
    """Command line.

    Args:
        cmd: the options; those of the process if None.
        watched: somebody starts this again if it is killed, so memory is limited.
    """
    args = get_parser().parse_args(cmd)
    _log_to_stderr(args)
    bound_primitives()
    try:
        job = prepare(args, sys.argv[1:] if cmd is None else cmd)
    except (ValueError, ImportError, FileNotFoundError) as error:
        sys.exit(f"asr_inference_k2: {error}")
    if watched and args.nj == 1:
        from espnet_plugin.decode.limits import GIB, available_memory, limit_memory

        gigabytes = args.memory_gb or available_memory() / GIB / 2
        if gigabytes:
            limit_memory(gigabytes, "cuda" if args.ngpu else "cpu")
    try:
        summary = job()
    except (DataError, JobError) as error:
        sys.exit(f"asr_inference_k2: {error}")
    if args.part:
        return
    logging.info(
        "%s: %d utterances, %d failed, real-time factor %s (encoder %s, search %s, rescoring %s)",
        args.output_dir,
        summary["utterances"],
        len(summary["failed"]),
        *(summary[name] for name in ("rtf", "encoder_rtf", "search_rtf", "rescoring_rtf")),
    )


def watched_main(cmd: Optional[Sequence[str]] = None) -> int:
    """The command in a process of its own, started again where memory does not suffice."""
    from espnet_plugin.decode.journal import note_death
    from espnet_plugin.decode.watch import watch

    args = get_parser().parse_args(cmd)
    _log_to_stderr(args)
    if args.nj > 1:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        main(cmd)  # the parts are watched
        return 0
    return watch(
        partial(main, cmd, watched=True),
        lambda cause: note_death(
            Path(args.output_dir) / JOURNAL, f"the process was ended by {cause}"
        ),
    )


def _log_to_stderr(args: argparse.Namespace) -> None:
    logging.basicConfig(
        level=args.log_level,
        format="%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s",
    )


if __name__ == "__main__":
    sys.exit(watched_main())
