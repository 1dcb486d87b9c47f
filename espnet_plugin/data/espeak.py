"""Speech from eSpeak NG through ``espeakng-loader``, with the times of its words and phonemes.

eSpeak NG keeps global state that leaks from one utterance into the next (frame interpolation,
pitch, random numbers), even over ``espeak_Terminate``. So :func:`synthesise` forks: the child
inherits a library that was initialised but has never spoken, speaks once, and is gone. What
it returns therefore depends on its arguments alone.
"""

from __future__ import annotations

import ctypes
import functools
import os
import pickle
import signal
import warnings
from dataclasses import dataclass
from typing import Any, List, NamedTuple, Tuple

import numpy as np

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS = 1
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_EVENT_END_OF_LIST, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Event(NamedTuple):
    """A word (``label`` is its text) or phoneme (eSpeak's mnemonic) that starts at ``sample``."""

    kind: str
    label: str
    sample: int


@dataclass(frozen=True)
class Speech:
    """What eSpeak NG said.

    Attributes:
        samples: (N,) int16.
        sample_rate: in Hz, 22,050 for eSpeak's own voices.
        events: words and phonemes in the order of time.
    """

    samples: np.ndarray
    sample_rate: int
    events: Tuple[Event, ...]


@dataclass(frozen=True)
class Voice:
    """A speaker: ``name`` as eSpeak knows it (``en-us+f2``), and its settings.

    Attributes:
        name: language, and after ``+`` the variant.
        rate: words per minute.
        pitch: 0 to 99.
        pitch_range: 0 to 99, how lively the intonation is.
    """

    name: str
    rate: int = 165
    pitch: int = 50
    pitch_range: int = 50


@functools.cache
def _library() -> Tuple[ctypes.CDLL, int]:
    """The initialised library and its sampling rate; nothing has been spoken with it."""
    try:
        import espeakng_loader
    except ImportError:
        raise ImportError(
            "synthesising speech needs eSpeak NG: pip install espeakng-loader"
            " (extra 'synth' of this package)"
        ) from None
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    sample_rate = library.espeak_Initialize(
        _AUDIO_OUTPUT_SYNCHRONOUS,
        0,
        espeakng_loader.get_data_path().encode(),
        _INITIALIZE_PHONEME_EVENTS,
    )
    if sample_rate <= 0:
        raise RuntimeError(f"eSpeak NG did not start (status {sample_rate})")
    return library, sample_rate


def espeak_version() -> str:
    """The version of the eSpeak NG library, for example ``1.52.0``."""
    library, _ = _library()
    library.espeak_Info.restype = ctypes.c_char_p
    return library.espeak_Info(None).decode().split()[0]


def _speak(text: str, voice: Voice) -> Tuple[bytes, List[Event]]:
    """Synthesise in this process, which is not fit for a second utterance afterwards."""
    library, _ = _library()
    # eSpeak says some pairs ("in the") as one word with one event, unless the space is no-break.
    text = text.replace(" ", "\u00a0")
    pieces: List[bytes] = []
    events: List[Event] = []

    def receive(samples: Any, count: int, batch: Any) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while batch[index].type != _EVENT_END_OF_LIST:
            event = batch[index]
            if event.type == _EVENT_WORD:
                start = event.text_position - 1
                events.append(Event("word", text[start : start + event.length], event.sample))
            elif event.type == _EVENT_PHONEME:
                events.append(Event("phone", event.id.string.decode(), event.sample))
            index += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise ValueError(f"eSpeak NG has no voice {voice.name!r}")
    library.espeak_SetParameter(_RATE, voice.rate, 0)
    library.espeak_SetParameter(_VOLUME, 50, 0)  # half of eSpeak's usual: some voices clip
    library.espeak_SetParameter(_PITCH, voice.pitch, 0)
    library.espeak_SetParameter(_RANGE, voice.pitch_range, 0)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    encoded = text.encode()
    status = library.espeak_Synth(
        encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
    )
    if status != 0:
        raise RuntimeError(f"eSpeak NG could not speak {text!r} (status {status})")
    return b"".join(pieces), events


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of forks while other threads (here NumPy's) exist: they may hold
        # locks that stay locked in the child. The child below calls eSpeak and pickle only.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def synthesise(text: str, voice: Voice) -> Speech:
    """Speak ``text`` (ASCII, no punctuation needed) with ``voice``.

    Equal arguments give equal samples and events, whatever was spoken before.

    Raises:
        ImportError: espeakng-loader is not installed.
        ValueError: there is no such voice.
        RuntimeError: eSpeak NG failed.
    """
    _, sample_rate = _library()
    reader, writer = os.pipe()
    child = _fork()
    if child == 0:
        try:
            signal.alarm(60)
            os.close(reader)
            try:
                answer: Any = _speak(text, voice)
            except Exception as error:
                answer = error
            with os.fdopen(writer, "wb") as stream:
                pickle.dump(answer, stream)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    if not data:
        raise RuntimeError(f"eSpeak NG crashed on {text!r} with voice {voice.name!r}")
    answer = pickle.loads(data)
    if isinstance(answer, Exception):
        raise answer
    samples, events = answer
    return Speech(np.frombuffer(samples, dtype=np.int16), sample_rate, tuple(events))
