"""Find damaged utterances in a corpus of LibriSpeech's layout before anything is made of it."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple, Union

from espnet_plugin.progress import progress

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one utterance.

    Attributes:
        utterance: its id, or "" where the damage hides it.
        file: the file to look at (with the line of a transcript after a colon).
        what: what is wrong.
        remedy: what to do.
    """

    utterance: str
    file: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.utterance or '(no utterance id)'}: {self.what} [{self.file}]; {self.remedy}"


class BadDataError(ValueError):
    """Raised with every problem found, one line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"{len(self.problems)} problems in the data (--skip_bad leaves these utterances out):"
            f"\n{lines}"
        )


@dataclass(frozen=True)
class Utterance:
    """A sound utterance: where it lies and what is said in it."""

    id: str
    part: str
    audio: Path
    text: str
    samples: int

    @property
    def speaker(self) -> str:
        """The reader's id, the first field of the utterance id."""
        return self.id.split("-")[0]

    @property
    def chapter(self) -> str:
        """Speaker and chapter, ``4088-158077``."""
        return self.id.rsplit("-", 1)[0]


@dataclass
class Checked:
    """What :func:`check_corpus` found.

    Attributes:
        utterances: those fit for use, sorted by id within their parts.
        problems: with the others, sorted by file.
        seen: all utterance ids of each part, sound, damaged or not wanted.
    """

    utterances: List[Utterance] = field(default_factory=list)
    problems: List[Problem] = field(default_factory=list)
    seen: Dict[str, Set[str]] = field(default_factory=dict)


def check_corpus(
    corpus_dir: Union[str, Path],
    parts: Sequence[str],
    nj: int = 1,
    wanted: Optional[Callable[[str, str], bool]] = None,
) -> Checked:
    """Check transcripts and decode the audio of ``parts``.

    Args:
        corpus_dir: the directory that holds the parts.
        parts: names of directories in it.
        nj: threads that decode.
        wanted: told a part and an utterance id, whether to check that utterance; all if None.

    Raises:
        FileNotFoundError: a part is not there or holds no transcripts.
    """
    corpus = Path(corpus_dir)
    problems: List[Problem] = []
    texts: Dict[str, List[Tuple[str, str, str]]] = defaultdict(list)  # id: (part, where, text)
    audio: Dict[str, List[Path]] = defaultdict(list)
    broken_lines: Dict[str, Set[str]] = defaultdict(set)  # id: parts
    unwanted: Set[str] = set()
    for part in parts:
        transcripts = sorted((corpus / part).rglob("*.trans.txt"))
        if not transcripts:
            raise FileNotFoundError(
                f"{corpus / part}: no *.trans.txt in it; name parts that this corpus has"
            )
        for path in transcripts:
            for utterance, where, text, problem in _read_transcript(path):
                if problem is not None:
                    problems.append(problem)
                    broken_lines[utterance].add(part)
                else:
                    texts[utterance].append((part, where, text))
        for path in sorted((corpus / part).rglob("*.flac")):
            audio[path.stem].append(path)

    checked = Checked(problems=problems, seen={part: set() for part in parts})
    for name in {*texts, *audio, *broken_lines}:
        places = {part for part, _, _ in texts[name]} | broken_lines.get(name, set())
        places |= {path.relative_to(corpus).parts[0] for path in audio[name]}
        for part in places:
            checked.seen[part].add(name)
        if wanted is not None and not any(wanted(part, name) for part in places):
            unwanted.add(name)
    problems[:] = [problem for problem in problems if problem.utterance not in unwanted]

    candidates: List[Utterance] = []
    for name in sorted({*texts, *audio} - unwanted):
        found = _match(name, texts[name], audio[name], name in broken_lines)
        problems += found
        if not found and name not in broken_lines:
            part, _, text = texts[name][0]
            candidates.append(Utterance(name, part, audio[name][0], text, 0))

    with ThreadPoolExecutor(max(1, nj)) as pool:
        decoded = progress(pool.map(_decode, candidates), "check audio", len(candidates))
        for candidate, result in zip(candidates, decoded, strict=True):
            if isinstance(result, Problem):
                checked.problems.append(result)
            else:
                checked.utterances.append(replace(candidate, samples=result))
    order = {part: index for index, part in enumerate(parts)}
    checked.utterances.sort(key=lambda utterance: (order[utterance.part], utterance.id))
    checked.problems.sort(key=lambda problem: (problem.file, problem.utterance, problem.what))
    return checked


def _read_transcript(path: Path) -> List[Tuple[str, str, str, Optional[Problem]]]:
    """Per line: utterance id, ``file:line``, text, and the problem if there is one."""
    lines: List[Tuple[str, str, str, Optional[Problem]]] = []
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        if not raw.strip():
            continue
        where = f"{path}:{number}"
        utterance = raw.split()[0].decode("ascii", errors="replace")
        problem = None
        text = ""
        try:
            text = " ".join(raw.decode("utf-8").split()[1:])
        except UnicodeDecodeError as error:
            problem = Problem(
                utterance,
                where,
                f"transcript is not UTF-8 (byte {error.start + 1} of the line)",
                "save the file as UTF-8",
            )
        else:
            if not text:
                problem = Problem(utterance, where, "transcript is empty", "add its words")
        lines.append((utterance, where, text, problem))
    return lines


def _match(
    utterance: str, lines: Sequence[Tuple[str, str, str]], paths: Sequence[Path], broken: bool
) -> List[Problem]:
    """What is wrong with the number and the places of an utterance's lines and files."""
    problems: List[Problem] = []
    if len(lines) + broken > 1:
        places = " and ".join(where for _, where, _ in lines)
        problems.append(
            Problem(
                utterance,
                places,
                f"{len(lines) + broken} transcript lines for one utterance",
                "keep one of them",
            )
        )
    if len(paths) > 1:
        problems.append(
            Problem(
                utterance,
                " and ".join(map(str, paths)),
                f"the utterance id is in {len(paths)} places",
                "keep the right file",
            )
        )
    if not lines and not broken:
        problems.append(
            Problem(utterance, str(paths[0]), "audio has no transcript line", "add one")
        )
    if not paths and lines:
        problems.append(
            Problem(utterance, lines[0][1], "no audio file for this line", "add the FLAC file")
        )
    if len(paths) == 1 and lines:
        fields = utterance.split("-")
        if len(fields) != 3 or list(paths[0].parent.parts[-3:]) != [lines[0][0], *fields[:2]]:
            problems.append(
                Problem(
                    utterance,
                    str(paths[0]),
                    "the id is not <speaker>-<chapter>-<number> of its directories",
                    "move or rename the file",
                )
            )
    return problems


def _decode(utterance: Utterance) -> Union[int, Problem]:
    """Decode the whole file; the number of samples, or what is wrong."""
    import soundfile

    def problem(what: str, remedy: str) -> Problem:
        return Problem(utterance.id, str(utterance.audio), what, remedy)

    try:
        with soundfile.SoundFile(utterance.audio) as stream:
            if stream.samplerate != SAMPLE_RATE:
                return problem(
                    f"sampling rate {stream.samplerate} Hz, not {SAMPLE_RATE} Hz",
                    f"resample it to {SAMPLE_RATE} Hz",
                )
            if stream.channels != 1:
                return problem(f"{stream.channels} channels, not 1", "mix it down to mono")
            expected = stream.frames
            decoded = 0
            while True:
                block = stream.read(1 << 18, dtype="int16")
                decoded += len(block)
                if len(block) == 0:
                    break
    except (RuntimeError, OSError) as error:
        return problem(f"cannot be decoded ({error})".replace("\n", " "), "fetch the file again")
    if decoded != expected or decoded == 0:
        return problem(
            f"truncated: {decoded} of {expected} samples can be decoded", "fetch the file again"
        )
    return decoded
