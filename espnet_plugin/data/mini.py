"""The mini corpus: LibriSpeech-shaped speech that is synthesised on the spot."""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import random
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, Iterable, List, Sequence, Set, Tuple, Union

import numpy as np

from espnet_plugin.atomic import atomic_dir, write_json
from espnet_plugin.data.espeak import espeak_version, synthesise
from espnet_plugin.data.grammar import draw_sentences
from espnet_plugin.data.phones import SILENCE, Phone, merge_silences
from espnet_plugin.data.speakers import PARTS, Speaker, speakers
from espnet_plugin.data.textgrid import Interval, write_textgrid
from espnet_plugin.data.timing import word_and_phone_times
from espnet_plugin.progress import progress

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
MARKER = "mini.json"
_SECONDS_PER_UTTERANCE = 2.5
_UTTERANCES_PER_CHAPTER = 25


@dataclass(frozen=True)
class MiniOptions:
    """What decides the corpus, byte for byte (with eSpeak NG's version).

    Attributes:
        seed: of sentences, levels, pauses and noise.
        train_minutes, dev_minutes, test_minutes: approximate sizes of the parts.
        min_word_count: every word of dev and test occurs this often in train.
        snr_db: mean signal-to-noise ratio of the added white noise, in dB.
    """

    seed: int = 1
    train_minutes: float = 240.0
    dev_minutes: float = 4.0
    test_minutes: float = 20.0
    min_word_count: int = 5
    snr_db: float = 40.0

    def sentences(self) -> Dict[str, List[str]]:
        """The sentences (lower case) of each part; none occurs twice in the corpus."""
        minutes = (self.train_minutes, self.dev_minutes, self.test_minutes)
        taken: Set[str] = set()
        drawn: Dict[str, List[str]] = {}
        counts: Counter = Counter()
        for index, part in enumerate(PARTS):
            rng = random.Random(1000 * self.seed + index)
            size = max(1, round(60.0 * minutes[index] / _SECONDS_PER_UTTERANCE))
            known = counts if index > 0 and self.min_word_count > 0 else None
            drawn[part] = draw_sentences(rng, size, taken, known, self.min_word_count)
            if index == 0:
                counts.update(word for text in drawn[part] for word in text.split())
        return drawn


@dataclass(frozen=True)
class Utterance:
    """One utterance to be made; ``seed`` decides its level, pauses and noise."""

    id: str
    part: str
    speaker: Speaker
    text: str
    seed: int
    snr_db: float

    @property
    def directory(self) -> str:
        """``<part>/<speaker>/<chapter>``."""
        speaker, chapter, _ = self.id.split("-")
        return f"{self.part}/{speaker}/{chapter}"


def plan(options: MiniOptions) -> List[Utterance]:
    """Every utterance of the corpus, in the order of parts, speakers and numbers."""
    utterances: List[Utterance] = []
    for part, sentences in options.sentences().items():
        cast = speakers(part)
        for place, speaker in enumerate(cast):
            for index, text in enumerate(sentences[place :: len(cast)]):
                chapter = 100 * speaker.id + index // _UTTERANCES_PER_CHAPTER
                number = index % _UTTERANCES_PER_CHAPTER
                seed = (options.seed * 1_000_003 + len(utterances)) % 2**32
                utterances.append(
                    Utterance(
                        f"{speaker.id}-{chapter}-{number:04d}",
                        part,
                        speaker,
                        text,
                        seed,
                        options.snr_db,
                    )
                )
    return utterances


@dataclass(frozen=True)
class Rendered:
    """Audio of an utterance, (N,) int16 at 16 kHz, with its words and phones in samples."""

    samples: np.ndarray
    words: List[Phone]
    phones: List[Phone]


def render(utterance: Utterance) -> Rendered:
    """Synthesise ``utterance``: resample without delay, set the level, add pauses and noise.

    The sinc filter of ``scipy.signal.resample_poly`` is symmetric, hence of zero phase: a
    sample n at 22.05 kHz is found at n * 16 / 22.05 afterwards.
    """
    from scipy.signal import resample_poly

    voice = utterance.speaker.voice
    speech = synthesise(utterance.text, voice)
    words, phones = word_and_phone_times(speech, voice.name.split("+")[0], SAMPLE_RATE)
    common = math.gcd(SAMPLE_RATE, speech.sample_rate)
    spoken = resample_poly(
        speech.samples.astype(np.float64),
        SAMPLE_RATE // common,
        speech.sample_rate // common,
    )
    rng = np.random.RandomState(utterance.seed)  # its sequences are frozen, unlike Generator's
    level_db, lead, tail, snr_offset = rng.random_sample(4)
    rms = float(np.sqrt(np.mean(spoken**2)))
    target = 32768 * 10 ** ((-27 + 6 * level_db) / 20)
    gain = round(min(target / rms, 30000 / float(np.abs(spoken).max())), 6)
    before = round(SAMPLE_RATE * (0.1 + 0.2 * lead))
    total = before + len(spoken) + round(SAMPLE_RATE * (0.05 + 0.2 * tail))
    total = max(total, round(1.5 * SAMPLE_RATE))
    audio = np.zeros(total)
    audio[before : before + len(spoken)] = gain * spoken
    noise_db = utterance.snr_db - 5 + 10 * snr_offset
    audio += gain * rms * 10 ** (-noise_db / 20) * rng.standard_normal(total)

    def shift(items: Sequence[Phone]) -> List[Phone]:
        return [Phone(x.label, x.start + before, x.end + before) for x in items]

    phones = [
        Phone(SILENCE, 0, before),
        *shift(phones),
        Phone(SILENCE, phones[-1].end + before, total),
    ]
    samples = np.clip(np.rint(audio), -32768, 32767).astype(np.int16)
    return Rendered(samples, shift(words), merge_silences(phones))


def _intervals(items: Sequence[Phone], total: int, silence: str) -> List[Interval]:
    """Cover 0 to ``total`` samples with intervals in seconds; what is between items is silence."""
    covered: List[Phone] = []
    position = 0
    for item in [*items, Phone("", total, total)]:
        covered += [Phone(silence, position, item.start), item]
        position = int(item.end)
    return [
        Interval(
            x.start / SAMPLE_RATE, x.end / SAMPLE_RATE, silence if x.label == SILENCE else x.label
        )
        for x in covered
        if x.end > x.start
    ]


def _write(job: Tuple[Utterance, str, str]) -> Tuple[str, float]:
    """Write the FLAC and the TextGrid of an utterance; return its id and seconds."""
    import soundfile

    utterance, corpus, alignments = job
    rendered = render(utterance)
    total = len(rendered.samples)
    soundfile.write(
        Path(corpus) / utterance.directory / f"{utterance.id}.flac",
        rendered.samples,
        SAMPLE_RATE,
        subtype="PCM_16",
    )
    write_textgrid(
        Path(alignments) / utterance.directory / f"{utterance.id}.TextGrid",
        {
            "words": _intervals(rendered.words, total, ""),
            "phones": _intervals(rendered.phones, total, "sil"),
        },
        total / SAMPLE_RATE,
    )
    return utterance.id, total / SAMPLE_RATE


def make_mini(
    directory: Union[str, Path], options: MiniOptions = MiniOptions(), nj: int = 1
) -> Path:
    """Write the mini corpus: ``directory/LibriSpeech`` and ``directory/alignments``.

    The bytes depend on ``options`` and the version of eSpeak NG alone, not on ``nj``. A corpus
    that is there already with the same options is left as it is.

    Returns:
        The path of ``directory/LibriSpeech``.

    Raises:
        FileExistsError: what is there was not made by this function.
        ValueError: the grammar has too few sentences for these options.
        ImportError: espeakng-loader is not installed.
    """
    directory = Path(directory)
    corpus, alignments = directory / "LibriSpeech", directory / "alignments"
    made_with = {**asdict(options), "espeak_ng": espeak_version(), "format": 2}
    for target in (corpus, alignments):
        if target.exists() and not (target / MARKER).is_file():
            raise FileExistsError(
                f"{target} is there but was not made by make_mini: choose another directory"
            )
    if all(
        target.exists() and json.loads((target / MARKER).read_text()) == made_with
        for target in (corpus, alignments)
    ):
        logger.info("%s is there already with these options", corpus)
        return corpus
    utterances = plan(options)
    with atomic_dir(corpus) as new_corpus, atomic_dir(alignments) as new_alignments:
        for path in {utterance.directory for utterance in utterances}:
            (new_corpus / path).mkdir(parents=True)
            (new_alignments / path).mkdir(parents=True)
        jobs = [(utterance, str(new_corpus), str(new_alignments)) for utterance in utterances]
        seconds = dict(progress(_run(jobs, nj), "synthesise", total=len(jobs)))
        _write_tables(new_corpus, utterances, seconds)
        for target in (new_corpus, new_alignments):
            write_json(target / MARKER, made_with)
    return corpus


def _run(jobs: List[Tuple[Utterance, str, str]], nj: int) -> Iterable[Tuple[str, float]]:
    if nj <= 1:
        yield from map(_write, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(nj) as pool:
        yield from pool.imap(_write, jobs, chunksize=8)


def _write_tables(corpus: Path, utterances: List[Utterance], seconds: Dict[str, float]) -> None:
    """The transcripts of each chapter and SPEAKERS.TXT."""
    transcripts: Dict[Path, List[str]] = {}
    minutes: Dict[int, float] = defaultdict(float)
    for utterance in utterances:
        chapter = utterance.id.rsplit("-", 1)[0]
        path = corpus / utterance.directory / f"{chapter}.trans.txt"
        transcripts.setdefault(path, []).append(f"{utterance.id} {utterance.text.upper()}\n")
        minutes[utterance.speaker.id] += seconds[utterance.id] / 60
    for path, lines in transcripts.items():
        path.write_text("".join(lines), encoding="utf-8")
    table = [
        "; Synthetic speech by eSpeak NG in the layout of LibriSpeech; no human voices.\n",
        ";\n",
        ";ID  |SEX| SUBSET           |MINUTES| NAME\n",
    ]
    for part in PARTS:
        for speaker in speakers(part):
            if speaker.id not in minutes:
                continue
            voice = speaker.voice
            table.append(
                f"{speaker.id:<5}| {speaker.sex} | {part:<17}| {minutes[speaker.id]:<6.2f}|"
                f" eSpeak NG {voice.name}, pitch {voice.pitch}, {voice.rate} words per minute\n"
            )
    (corpus / "SPEAKERS.TXT").write_text("".join(table), encoding="utf-8")
