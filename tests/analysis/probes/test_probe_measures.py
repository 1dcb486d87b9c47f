"""Probe measures: planted truths by depth, any split, and probes as capacities of stacks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from espnet_plugin.analysis.maps.attention_report import AnalysisError
from espnet_plugin.analysis.phonemes.frames import clock_of
from espnet_plugin.analysis.phonemes.labels import Aligned, PhoneLabels
from espnet_plugin.analysis.probes.probe_measures import make_phone, make_speaker, make_word
from espnet_plugin.analysis.probes.readers import (
    LabelReader,
    PhoneReader,
    reader_of,
    reading_capacity,
)
from espnet_plugin.analysis.probes.stored_probe import StoredProbe
from espnet_plugin.analysis.suite.measure import Context, Utterances
from espnet_plugin.analysis.suite.results import write_results
from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.compat import torch_load
from espnet_plugin.data.textgrid import Interval
from espnet_plugin.stacks.batches import list_utterances, plan_batches, read_batch
from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "surgery"))
from small_stacks import small_stack  # noqa: E402

RATE, PHONES = 16000, ("AA", "B", "S")


@pytest.fixture(scope="module")
def stack():
    return small_stack("hubert", blocks=3, dtype=torch.float32)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Kaldi directory of tones, a phone and a word being a pitch, a speaker being loudness."""
    folder = tmp_path_factory.mktemp("tones")
    phones, lines = {}, {"wav.scp": [], "text": [], "utt2spk": []}
    generator = np.random.default_rng(0)
    for number in range(30):
        name, word, speaker = f"u{number:02d}", number % 3, number // 3 % 2
        time = np.arange(2400 + 80 * number) / RATE
        half = len(time) // 2
        places = [(word + n) % 3 for n in range(2)]
        pitch = np.where(np.arange(len(time)) < half, *[200 * 4.0**p for p in places])
        noise = generator.normal(size=len(time)) * 0.01
        samples = (0.05 + 0.5 * speaker) * np.sin(2 * np.pi * pitch * time) + noise
        soundfile.write(folder / f"{name}.wav", samples, RATE)
        cut = half / RATE
        ends = [(0.0, cut), (cut, len(time) / RATE)]
        intervals = [
            Interval(a, b, PHONES[p] if p else "AA1")
            for (a, b), p in zip(ends, places, strict=True)
        ]
        phones[name] = intervals
        lines["wav.scp"].append(f"{name} {folder}/{name}.wav")
        lines["text"].append(f"{name} WORD{word}")
        lines["utt2spk"].append(f"{name} spk{speaker}")
    for file, rows in lines.items():
        (folder / file).write_text("\n".join(rows) + "\n")
    readers = {name: (lambda found=found: Aligned(found, [])) for name, found in phones.items()}
    return folder, PhoneLabels(readers)


def context(stack, speech, **options) -> Context:
    folder, labels = speech
    utterances = list_utterances(folder, RATE)
    return Context(Subject("small", stack), str(folder), utterances, labels, options)


def show(measure, names, states, lengths) -> None:
    measure.begin(Utterances(names, torch.tensor(lengths), RATE, torch.zeros(len(names), 1)))
    with torch.inference_mode():
        measure.end(states, torch.tensor(lengths))


def planted(measure, made: Context, wanted, state: int = 2) -> None:
    """States of noise, with ``wanted`` (name, frames) -> (T,) labels linearly in one of them."""
    for number, utterance in enumerate(made.utterances):
        frames = 30 + number
        generator = torch.Generator().manual_seed(number)
        states = list(torch.randn(4, 1, frames, 6, generator=generator))
        labels = wanted(utterance.utt_id, frames)
        states[state][0, torch.arange(frames), labels.clamp(min=0)] += 6.0
        show(measure, [utterance.utt_id], states, [frames])


def test_a_phone_that_is_in_one_state_is_found_there(stack, speech) -> None:
    made = context(stack, speech, phone_probe_parts=5)
    measure, labels = make_phone(made), speech[1]
    clock = made.encoder.clock
    places = {labels.symbols.index(phone): n for n, phone in enumerate(PHONES)}

    def wanted(name: str, frames: int) -> torch.Tensor:
        found = labels.frames(name, clock, frames, RATE).tolist()
        return torch.tensor([places.get(label, -1) for label in found])

    planted(measure, made, wanted)
    result = measure.result()
    assert [state["accuracy"] > 0.95 for state in result["states"]] == [False, False, True, False]
    for state in result["states"]:
        assert state["low"] <= state["accuracy"] <= state["high"]
        if state["state"] != 2:
            assert abs(state["accuracy"] - result["chance"]) < 0.15
    assert result["without_alignment"] == []
    arrays = measure.arrays()
    assert arrays["correct"].shape == (30, 4) and arrays["total"].shape == (30,)
    shares = arrays["correct"].sum(0) / arrays["total"].sum()
    assert shares.tolist() == pytest.approx([s["accuracy"] for s in result["states"]])
    assert json.dumps(result, allow_nan=False) and len(measure.tables()[""]) == 5


@pytest.mark.parametrize("make, classes", [(make_word, 3), (make_speaker, 2)])
def test_a_label_of_utterances_that_is_in_one_state(stack, speech, make, classes) -> None:
    made = context(stack, speech)
    measure = make(made)
    of = made.texts if make is make_word else made.speakers
    planted(measure, made, lambda name, frames: torch.full((frames,), int(of[name][-1])))
    result = measure.result()
    accuracies = [state["accuracy"] for state in result["states"]]
    assert accuracies[2] == 1.0 and max(accuracies[:2] + accuracies[3:]) < 0.85
    assert len(result["classes"]) == classes and result["tested_utterances"] == 30
    assert result["states"][2]["block"] == 1 and result["states"][0]["block"] is None


def test_any_split_gives_the_same_bits(stack, speech, tmp_path) -> None:
    def measured(utterances, options):
        measure = make_phone(context(stack, speech, **options))
        run = Pass(Subject("small", stack), [measure], RATE)
        for batch in utterances:
            run.update(read_batch(batch))
        return measure

    options = {"probe_frames": 900, "phone_probe_parts": 2}
    batches = plan_batches(list_utterances(speech[0], RATE), 1.0)
    whole = measured(batches, options)
    merged = make_phone(context(stack, speech, **options))
    for part in (batches[2:], batches[:1], batches[1:2]):
        torch.save(measured(part, options).state_dict(), tmp_path / "part.pt")
        loaded = make_phone(context(stack, speech, **options))
        loaded.load_state_dict(torch_load(tmp_path / "part.pt"))
        merged.merge(loaded)
    assert merged.result() == whole.result()
    for name, array in whole.arrays().items():
        assert np.array_equal(merged.arrays()[name], array)
    assert 700 < whole.result()["samples"] < 1100  # of some 5,300
    with pytest.raises(ValueError, match="u00: measured before"):
        merged.merge(whole)


def test_utterances_without_an_alignment_are_named(stack, speech) -> None:
    folder, labels = speech
    there = [f"u{number:02d}" for number in range(30) if number != 3]
    readers = {name: (lambda name=name: Aligned(labels.phones(name), [])) for name in there}
    fewer = PhoneLabels(readers, without=frozenset({"u03", "elsewhere"}))
    made = context(stack, (folder, fewer))
    assert make_phone(made).result()["without_alignment"] == ["u03"]


def test_why_there_is_no_probe(stack, speech, tmp_path) -> None:
    made = context(stack, speech)
    assert "too few utterances" in make_phone(made).result()["reason"]
    assert make_phone(made).arrays() == {} and make_phone(made).tables() == {}
    nothing = [make_phone(made)]
    write_results(tmp_path, nothing, made.encoder.describe(), {"directory": "x", "sha256": ""}, {})
    with pytest.raises(AnalysisError, match="could not be fitted: too few utterances"):
        StoredProbe.load(tmp_path)
    few = Context(made.encoder, made.data, made.utterances[:3], made.alignments)
    assert "3 utterances cannot be cut into 5" in make_phone(few).result()["reason"]
    assert "fewer than two labels have 5" in make_word(few).result()["reason"]
    assert make_word(few).wants == frozenset()
    by = context(stack, speech, probe_by="speaker")
    assert "by speaker: 2 groups cannot be cut" in make_phone(by).result()["reason"]
    measure = make_phone(made)
    with pytest.raises(ValueError, match="u00: its hidden states are not finite"):
        show(measure, ["u00"], [torch.full((1, 90, 4), torch.nan)], [90])


def test_a_probe_is_a_capacity(stack, speech, tmp_path) -> None:
    made = context(stack, speech)
    measures = [make_phone(made), make_word(made)]
    run = Pass(made.encoder, measures, RATE)
    batches = plan_batches(list(made.utterances), 1.0)
    for batch in batches:
        run.update(read_batch(batch))
    data = {"directory": str(speech[0]), "sha256": ""}
    write_results(tmp_path, measures, made.encoder.describe(), data, {})
    edited = apply_plan(stack, BlockPlan(StackDescription("hubert", 3), (Drop(1), Drop(2))))

    phone = StoredProbe.load(tmp_path, "phone_probe")
    reader = PhoneReader(phone, speech[1], clock_of(stack), made.utterances)
    capacity = reading_capacity(reader, made.utterances, 1.0)
    with np.load(tmp_path / "phone_probe.npz") as arrays:
        right, total = int(arrays["correct"][:, -1].sum()), int(arrays["total"].sum())
        assert set(arrays["utterances"]) == phone.held_out
    assert capacity(stack) == pytest.approx(right / total, abs=2 / total)
    assert right / total > 0.5 and capacity(edited) < capacity(stack)

    word = StoredProbe.load(tmp_path, "word_probe")
    assert word.classes == ("WORD0", "WORD1", "WORD2") and len(word.held_out) == 6
    given = ("word", tmp_path, speech[0], made.utterances, clock_of(stack))
    capacity = reading_capacity(reader_of(*given), made.utterances)
    with np.load(tmp_path / "word_probe.npz") as arrays:
        rows = [name in word.held_out for name in arrays["utterances"]]
        right = int(arrays["correct"][rows, -1].sum())
    assert capacity(stack) == pytest.approx(right / 6)
    with pytest.raises(AnalysisError, match="no probe of state 9"):
        StoredProbe.load(tmp_path, "word_probe", 9)
    reader_of(*given, fingerprint=made.encoder.fingerprint)
    with pytest.raises(AnalysisError, match="word_probe.json: of small with other parameters"):
        reader_of(*given, fingerprint=Subject("other", edited).fingerprint)
    with pytest.raises(AnalysisError, match="and measure speaker_probe with analyze"):
        reader_of("speaker", *given[1:])
    with pytest.raises(ValueError, match="phone probe needs --alignments"):
        reader_of("phone", *given[1:])
    none = StoredProbe(word.head, ("other",), frozenset())
    with pytest.raises(
        ValueError, match=r"the probe knows \(other; these have WORD0, WORD1, WORD2\)"
    ):
        LabelReader(none, made.texts, made.utterances)
    with pytest.raises(ValueError, match="phones are not those of the alignments"):
        PhoneReader(none, speech[1], clock_of(stack), made.utterances)
    with pytest.raises(ValueError, match="nothing to read in these utterances"):
        reading_capacity(reader, [])(stack)
