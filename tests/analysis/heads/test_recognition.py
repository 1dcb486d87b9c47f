"""What is counted while an encoder is edited, against decoding utterance by utterance."""

from __future__ import annotations

import pytest
import soundfile
import torch
from tiny_models import write_experiment

from espnet_plugin.analysis.heads.recognition import Recognition
from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.analysis.probes.readers import LabelReader, PhoneReader
from espnet_plugin.analysis.probes.stored_probe import StoredProbe
from espnet_plugin.analysis.suite.subject import Subject, load_subject
from espnet_plugin.analysis.sums.resample import rate
from espnet_plugin.decode.decoder import CtcDecoder
from espnet_plugin.decode.text import TokenText
from espnet_plugin.score.counts import align, count_errors
from espnet_plugin.stacks.batches import list_utterances
from espnet_plugin.surgery.actions import PruneHeads
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.head_masks import masked_heads
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

TEXT = "the quick brown fox"


@pytest.fixture(scope="module")
def speech(data_root, tmp_path_factory):
    """Four short utterances, with the paths of their recordings and their alignments."""
    labels = PhoneLabels.from_textgrids(data_root / "alignments")
    paths = sorted((data_root / "LibriSpeech" / "train-clean-100").rglob("*.flac"))
    paths = [p for p in sorted(paths, key=lambda p: p.stat().st_size) if p.stem in labels][:4]
    directory = tmp_path_factory.mktemp("data")
    (directory / "wav.scp").write_text("".join(f"{p.stem} {p}\n" for p in paths))
    return list_utterances(directory), {p.stem: p for p in paths}, labels


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return load_subject(write_experiment(tmp_path_factory.mktemp("exp"), decoder="transformer"))


@pytest.fixture(scope="module")
def decoder(subject):
    training = subject.experiment.args
    text = TokenText(subject.experiment.token_list, training.token_type, training.bpemodel)
    return CtcDecoder(subject.experiment.model, text, "greedy")


def naive(decoder, paths):
    words, tokens = [], []
    for name in sorted(paths):
        (said,) = decoder([soundfile.read(paths[name], dtype="float32")[0]])
        wanted = decoder.text.tokenizer.text2tokens(TEXT)
        pairs = (TEXT.split(), said.text.split()), (wanted, said.tokens)
        for found, (reference, hypothesis) in zip((words, tokens), pairs, strict=True):
            counts = count_errors(align(reference, hypothesis))
            found.append((counts.errors, counts.tokens))
    return {"greedy": words, "token": tokens}


def test_errors_equal_decoding_one_by_one(subject, decoder, speech):
    utterances, paths, _ = speech
    texts = dict.fromkeys(paths, TEXT)
    recognition = Recognition(subject, utterances, texts, {"greedy": decoder})
    assert recognition.names == sorted(paths)
    unedited = recognition()
    assert unedited == naive(decoder, paths)
    capacity = recognition.capacity("greedy")(subject.stack)
    assert capacity == pytest.approx(1 - rate(unedited["greedy"]) / 100)
    plan = BlockPlan(StackDescription(subject.family, 2), (PruneHeads(0, (1,)),))
    with masked_heads(subject.encoder, [(0, 1)]):
        masked = recognition()
    assert recognition(apply_plan(subject.stack, plan)) == masked
    assert recognition() == unedited

    whole = Subject(subject.path, subject.experiment.model.encoder, subject.experiment)
    of_encoder = Recognition(whole, utterances, texts, {"greedy": decoder})
    assert whole.stack is None and of_encoder() == unedited
    with masked_heads(whole.encoder, [(0, 1)]):
        assert of_encoder() == masked


def test_phones_are_counted_on_what_the_probe_was_not_fitted_on(subject, decoder, speech):
    utterances, paths, labels = speech
    torch.manual_seed(0)
    classes = ("AH", "S", "T", "SIL")
    head = torch.nn.Linear(16, 4)
    held_out = frozenset(sorted(paths)[:2])
    texts = dict.fromkeys(paths, TEXT)

    def reader(out, among=utterances):
        return PhoneReader(StoredProbe(head, classes, out), labels, subject.clock, among)

    found = Recognition(subject, utterances, texts, {}, {"p": reader(held_out)})()["p"]
    for place, name in enumerate(sorted(paths)):
        if name not in held_out:
            assert found[place] == (0, 0)
            continue
        wave = torch.from_numpy(soundfile.read(paths[name], dtype="float32")[0])[None]
        with torch.no_grad():
            x, frames = subject.stack.output(wave, torch.tensor([wave.size(1)]))
            best = head(x[0]).argmax(-1).tolist()
        wanted = labels.frames(name, subject.clock, int(frames), 16000).tolist()
        pairs = [
            (classes[b], labels.symbols[w]) for b, w in zip(best, wanted, strict=True) if w >= 0
        ]
        assert found[place] == (sum(b != w for b, w in pairs), len(pairs))
    assert reader(frozenset()).counted == set(paths)
    with pytest.raises(ValueError, match="phones are not those of the alignments"):
        PhoneReader(StoredProbe(head, ("XX",), held_out), labels, subject.clock, utterances)
    with pytest.raises(ValueError, match="no utterance has an alignment"):
        reader(held_out, [])


def test_speakers_are_read_from_the_mean_over_frames(subject, speech):
    utterances, paths, _ = speech
    torch.manual_seed(0)
    names = sorted(paths)
    speakers = dict(zip(names, ["a", "b", "elsewhere", "b"], strict=True))
    head = torch.nn.Linear(16, 2)
    reader = LabelReader(StoredProbe(head, ("a", "b"), frozenset(names[:3])), speakers, utterances)
    assert reader.counted == set(names[:2])
    found = Recognition(subject, utterances, dict.fromkeys(paths, TEXT), {}, {"who": reader})
    for place, (name, (wrong, count)) in enumerate(zip(names, found()["who"], strict=True)):
        if place > 1:
            assert (wrong, count) == (0, 0)
            continue
        wave = torch.from_numpy(soundfile.read(paths[name], dtype="float32")[0])[None]
        with torch.no_grad():
            x, _ = subject.stack.output(wave, torch.tensor([wave.size(1)]))
            said = "ab"[int(head(x[0].mean(0)).argmax())]
        assert (wrong, count) == (int(said != speakers[name]), 1)


def test_what_cannot_be_recognised_is_refused(subject, decoder, speech):
    utterances, paths, _ = speech
    with pytest.raises(ValueError, match=f"{sorted(paths)[0]}: has no transcript"):
        Recognition(subject, utterances, {}, {"greedy": decoder})
    with pytest.raises(ValueError, match="recognises nothing; name an ESPnet experiment"):
        Recognition(Subject("m", subject.stack), utterances, {}, {})
