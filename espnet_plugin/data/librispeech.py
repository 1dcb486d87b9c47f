"""From a corpus in LibriSpeech's layout to lhotse manifests and Kaldi directories.

from espnet_plugin.data.librispeech import prepare
sets = prepare("downloads/LibriSpeech", "data", parts=["dev-clean"], nj=4)
sets["dev_clean"]  # a lhotse CutSet
"""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Union

from espnet_plugin.atomic import atomic_dir, atomic_path
from espnet_plugin.data.alignments import load_alignment, textgrid_path
from espnet_plugin.data.checks import BadDataError, Problem, Utterance, check_corpus
from espnet_plugin.data.kaldi import write_kaldi_dir
from espnet_plugin.data.perturb import perturb_speed
from espnet_plugin.data.split import apply_split, default_split, in_split, load_split, split_parts

logger = logging.getLogger(__name__)
PathLike = Union[str, Path]


def find_parts(corpus_dir: PathLike) -> List[str]:
    """The parts in ``corpus_dir``: directories with transcripts, sorted by name.

    Raises:
        FileNotFoundError: there are none.
    """
    corpus = Path(corpus_dir)
    parts = sorted(
        path.name
        for path in (corpus.iterdir() if corpus.is_dir() else ())
        if path.is_dir() and next(path.rglob("*.trans.txt"), None) is not None
    )
    if not parts:
        raise FileNotFoundError(
            f"{corpus}: no parts with *.trans.txt; give the directory that holds train-clean-100"
            " and the like"
        )
    return parts


def read_utterances(
    utterances: Sequence[Utterance],
    corpus_dir: PathLike,
    alignments_dir: Optional[PathLike] = None,
    nj: int = 1,
    skip_bad: bool = False,
) -> Any:
    """A lhotse CutSet of checked utterances, made by ``lhotse.recipes.prepare_librispeech``.

    Lhotse stops at the first damaged transcript line and drops lines without audio silently.
    It is therefore given a directory of links to the sound utterances alone.

    Args:
        utterances: from :func:`espnet_plugin.data.checks.check_corpus`.
        corpus_dir: where they lie; it is only read.
        alignments_dir: of TextGrids; utterances without one get no alignment.
        nj: threads of lhotse.
        skip_bad: leave utterances out whose TextGrid does not fit, instead of raising.

    Raises:
        BadDataError: TextGrids that do not fit their utterances, all of them.
    """
    from lhotse import CutSet
    from lhotse.recipes import prepare_librispeech

    by_id = {utterance.id: utterance for utterance in utterances}
    parts = list(dict.fromkeys(utterance.part for utterance in utterances))
    with tempfile.TemporaryDirectory() as temporary:
        transcripts: Dict[Path, List[str]] = defaultdict(list)
        for utterance in utterances:
            relative = utterance.audio.parent.relative_to(corpus_dir)
            directory = Path(temporary) / relative
            directory.mkdir(parents=True, exist_ok=True)
            (directory / utterance.audio.name).symlink_to(utterance.audio.absolute())
            transcripts[directory / f"{utterance.chapter}.trans.txt"].append(
                f"{utterance.id} {utterance.text}\n"
            )
        for path, lines in transcripts.items():
            path.write_text("".join(lines), encoding="utf-8")
        manifests = prepare_librispeech(temporary, dataset_parts=parts, num_jobs=nj)

    problems: List[Problem] = []
    missing = 0
    cuts = []
    for part in parts:
        recordings, supervisions = manifests[part]["recordings"], manifests[part]["supervisions"]
        for supervision in supervisions:
            utterance = by_id[supervision.id]
            recording = recordings[supervision.recording_id]
            supervision.text = utterance.text  # lhotse decodes by the locale
            recording.sources[0].source = os.path.abspath(utterance.audio)
            if alignments_dir is not None:
                try:
                    supervision.alignment = load_alignment(
                        alignments_dir, part, utterance.id, utterance.text
                    )
                except FileNotFoundError:
                    missing += 1
                except ValueError as error:
                    path = textgrid_path(alignments_dir, part, utterance.id)
                    problems.append(
                        Problem(utterance.id, str(path), str(error), "correct or remove it")
                    )
                    continue
            cut = recording.to_cut()
            cut.id = utterance.id
            cut.supervisions = [supervision]
            cuts.append(cut)
    _report(problems, skip_bad)
    if missing:
        logger.info("%d of %d utterances have no TextGrid", missing, len(cuts))
    cuts.sort(key=lambda cut: cut.id)
    return CutSet.from_cuts(cuts)


def prepare(
    corpus_dir: PathLike,
    out: PathLike,
    parts: Optional[Sequence[str]] = None,
    split: Optional[PathLike] = None,
    alignments_dir: Optional[PathLike] = None,
    skip_bad: bool = False,
    speeds: Sequence[float] = (),
    speed_sets: Optional[Sequence[str]] = None,
    nj: int = 1,
) -> Dict[str, Any]:
    """Write ``out/<set>`` (Kaldi) and ``out/manifests/<set>_*.jsonl.gz`` (lhotse) for each set.

    Args:
        corpus_dir: holds the parts; it is only read.
        out: the ``data`` directory of a recipe.
        parts: names of parts; all that are there, or those of ``split``, if None.
        split: a YAML file of sets, see :mod:`espnet_plugin.data.split`; one set per part if None.
        alignments_dir: of TextGrids, ``<part>/<speaker>/<chapter>/<utterance>.TextGrid``.
        skip_bad: leave damaged utterances out instead of raising.
        speeds: where given, sets ``<set>_sp`` are added at these speeds, for example
            ``(0.9, 1.0, 1.1)``, with their audio in ``out/audio/<set>_sp``.
        speed_sets: which sets to perturb; those whose name starts with ``train`` if None.
        nj: threads.

    Returns:
        A lhotse CutSet for each set.

    Raises:
        BadDataError: damaged utterances, all of them; nothing was written.
        FileNotFoundError: no such part.
        ValueError: the split or the speeds do not fit the corpus.
    """
    out = Path(out)
    if any(speed <= 0 for speed in speeds) or len(set(speeds)) < len(speeds):
        raise ValueError(f"speeds must be above zero and all different: {list(speeds)}")
    chosen = load_split(split) if split is not None else None
    if parts is None:
        parts = split_parts(chosen) if chosen is not None else find_parts(corpus_dir)
    chosen = chosen if chosen is not None else default_split(parts)
    _protect(Path(corpus_dir), out, chosen)
    checked = check_corpus(corpus_dir, parts, nj, functools.partial(in_split, chosen))
    _report(checked.problems, skip_bad)
    sets = apply_split(chosen, checked.utterances, checked.seen)
    cuts: Dict[str, Any] = {}
    problems: List[Problem] = []
    for name, utterances in sets.items():
        try:
            cuts[name] = read_utterances(utterances, corpus_dir, alignments_dir, nj, skip_bad)
        except BadDataError as error:
            problems += error.problems
    _report(problems, skip_bad)
    with ExitStack() as stack:
        if speeds:
            perturbed = speed_sets or [name for name in sets if name.startswith("train")]
            for name in perturbed:
                if name not in sets:
                    raise ValueError(f"no set {name!r} to perturb; there are {', '.join(sets)}")
                final = out / "audio" / f"{name}_sp"
                audio = stack.enter_context(atomic_dir(final))
                cuts[f"{name}_sp"] = perturb_speed(cuts[name], speeds, audio, final)
        for name, cut_set in cuts.items():
            write_kaldi_dir(stack.enter_context(atomic_dir(out / name)), cut_set)
        for name, cut_set in cuts.items():
            write_manifests(out / "manifests", name, cut_set)
    for name, cut_set in cuts.items():
        hours = sum(cut.duration for cut in cut_set) / 3600
        logger.info("%s: %d utterances, %.2f hours", name, len(cut_set), hours)
    return cuts


def _report(problems: Sequence[Problem], skip_bad: bool) -> None:
    """Raise the problems, if there are any, or log that their utterances are left out."""
    if not problems:
        return
    if not skip_bad:
        raise BadDataError(problems)
    logger.warning("left out: %s", BadDataError(problems))


def _protect(corpus: Path, out: Path, names: Iterable[str]) -> None:
    """Refuse to write over anything that is not a data directory of an earlier run."""
    if out.resolve() == corpus.resolve() or corpus.resolve() in out.resolve().parents:
        raise ValueError(f"{out} is inside the corpus {corpus}, which is never written to")
    for name in names:
        if name in ("manifests", "audio") or Path(name).name != name:
            raise ValueError(f"{name!r} cannot be the name of a set; choose another")
        if (out / name).exists() and not (out / name / "wav.scp").is_file():
            raise ValueError(f"{out / name} is there and is no Kaldi directory; choose another out")


def write_manifests(directory: Path, name: str, cuts: Any) -> None:
    """Write ``<name>_recordings``, ``_supervisions`` and ``_cuts.jsonl.gz``."""
    from lhotse import RecordingSet, SupervisionSet

    manifests = {
        "recordings": RecordingSet.from_recordings(cut.recording for cut in cuts),
        "supervisions": SupervisionSet.from_segments(cut.supervisions[0] for cut in cuts),
        "cuts": cuts,
    }
    for kind, manifest in manifests.items():
        with atomic_path(directory / f"{name}_{kind}.jsonl.gz") as path:
            manifest.to_file(path)
