"""One pass for all measures: who is shown what, and the same bits in any split."""

from __future__ import annotations

import io
import json
import random
import weakref

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.analysis.suite.measure import MAPS, STATES, Context
from espnet_plugin.analysis.suite.registry import MEASURES, default_measures, make_measures
from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.analysis.suite.subject import Subject, load_subject
from espnet_plugin.bin.analyze import get_parser
from espnet_plugin.compat import torch_load
from espnet_plugin.stacks.batches import Utterance
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.hooks import attention_maps, hidden_states
from espnet_plugin.stacks.untrained import create_untrained
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

LAYOUT = {
    "conv_layers": ((8, 10, 5), (8, 8, 4), (8, 8, 4), (8, 4, 4)),
    "width": 16,
    "blocks": 3,
    "heads": 2,
    "feed_forward": 24,
    "pos_kernel": 8,
    "pos_groups": 2,
}
MLP = {"cgmlp_linear_units": 24, "cgmlp_conv_kernel": 3, "rel_pos_type": "latest"}
SMALL = {"output_size": 16, "attention_heads": 2, "num_blocks": 2}
TOKENS = ["<blank>", "<unk>", "<sos/eos>"]


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(0)
    return Subject("tiny", Wav2Vec2Stack(Wav2Vec2Config(**LAYOUT)).eval())


def batch(number, size=2):
    generator = torch.Generator().manual_seed(number)
    lengths = torch.tensor([6000 + 700 * number - 900 * row for row in range(size)])
    speech = torch.randn(size, int(lengths[0]), generator=generator) / 10
    speech[torch.arange(speech.size(1)) >= lengths[:, None]] = 0
    return [f"utt{number}-{row}" for row in range(size)], speech, lengths


class Watcher:
    """Remembers what it is shown."""

    def __init__(self, *wants):
        self.name, self.wants = "watcher", frozenset(wants)
        self.calls, self.alive = [], []

    def begin(self, utterances):
        assert utterances.rate == 16000 and utterances.speech.shape[0] == len(utterances.names)
        self.calls.append(("begin", utterances.names, utterances.samples.tolist()))

    def look(self, block, maps, lengths):
        assert not any(ref() is not None for ref in self.alive)
        self.alive.append(weakref.ref(maps))
        self.calls.append(("look", block, lengths.tolist()))

    def end(self, states, lengths):
        assert not any(ref() is not None for ref in self.alive)
        self.calls.append(("end", [tuple(state.shape) for state in states], lengths.tolist()))


def test_measures_are_shown_what_they_want_and_nothing_is_kept(subject):
    watchers = [Watcher(MAPS), Watcher(STATES), Watcher(), Watcher(MAPS, STATES)]
    run = Pass(subject, watchers, 16000)
    for number in range(2):
        run.update(batch(number))
    frames = subject.run(*batch(0)[1:]).tolist()
    shapes = [(2, max(frames), 16)] * 4
    names, samples = batch(0)[0], batch(0)[2].tolist()
    begin, looks = ("begin", names, samples), [("look", b, frames) for b in range(3)]
    assert watchers[0].calls[:5] == [begin, *looks, ("end", [], frames)]
    assert watchers[1].calls[:2] == [begin, ("end", shapes, frames)]
    assert watchers[2].calls[:2] == [begin, ("end", [], frames)]
    assert watchers[3].calls[:5] == [begin, *looks, ("end", shapes, frames)]
    assert [len(w.calls) for w in watchers] == [10, 4, 4, 10]
    assert (run.utterances, run.samples) == (4, sum(samples) + int(batch(1)[2].sum()))


def test_without_anybody_asking_the_fused_path_runs(subject, monkeypatch):
    block = subject.stack.blocks[0].attention
    explicit = []
    monkeypatch.setattr(
        type(block), "maps", lambda self, *args: explicit.append(self) or _maps(self, *args)
    )
    Pass(subject, [Watcher(STATES)], 16000).update(batch(0))
    assert not explicit
    Pass(subject, [Watcher(MAPS)], 16000).update(batch(0))
    assert len(explicit) == 3


_maps = type(Wav2Vec2Stack(Wav2Vec2Config(**LAYOUT)).blocks[0].attention).maps


def options():
    return vars(get_parser().parse_args(["--model", "m", "--data", "d", "--out", "o"]))


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("speech"), []
    for names, speech, lengths in (batch(n) for n in range(6)):
        for name, samples, count in zip(names, speech, lengths.tolist(), strict=True):
            soundfile.write(folder / f"{name}.wav", samples[:count].numpy(), 16000)
            found.append(Utterance(name, folder / f"{name}.wav", count, 16000))
    return found


@pytest.fixture(scope="module")
def labels(utterances, tmp_path_factory):
    """A phone of a hundredth of a second after the other."""
    path, draw = tmp_path_factory.mktemp("labels") / "supervisions.jsonl", random.Random(0)
    with open(path, "w") as stream:
        for one in utterances:
            phones = [
                [draw.choice(("SIL", "AA1", "T", "S")), n / 100, 0.01, None]
                for n in range(int(one.seconds * 100))
            ]
            about = {"id": one.utt_id, "recording_id": one.utt_id, "start": 0.0, "channel": 0}
            about |= {"duration": one.seconds, "speaker": one.utt_id[-1], "text": "A"}
            stream.write(json.dumps({**about, "alignment": {"phone": phones}}) + "\n")
    return PhoneLabels.read(path)


def measured(subject, utterances, labels, batches):
    chosen = {**options(), "examples": ["utt3-1"]}
    context = Context(subject, "tiny", utterances, labels, chosen)
    run = Pass(subject, make_measures(default_measures(True), context), 16000)
    for number in batches:
        run.update(batch(number))
    return run


def stored(run, fresh):
    """Written and read as shards are."""
    stream = io.BytesIO()
    torch.save(run.state_dict(), stream)
    stream.seek(0)
    fresh.load_state_dict(torch_load(stream))
    return fresh


def results(run):
    found = {}
    for measure in run.measures:
        arrays = {k: np.asarray(v).tobytes() for k, v in measure.arrays().items()}
        plain = json.dumps(measure.result(), allow_nan=False)
        found[measure.name] = (plain, arrays, measure.tables())
    return found, run.frames


@pytest.fixture(scope="module")
def whole(subject, utterances, labels):
    return results(measured(subject, utterances, labels, range(6)))


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.permutations(range(3)))
def test_any_split_merges_to_the_same_bits(subject, utterances, labels, whole, shard_of, order):
    merged = measured(subject, utterances, labels, [])
    for shard in order:
        mine = [n for n, other in enumerate(shard_of) if other == shard]
        part = measured(subject, utterances, labels, mine)
        merged.merge(stored(part, measured(subject, utterances, labels, [])))
    assert results(merged) == whole


def test_what_cannot_be_measured_names_the_utterances(subject):
    run = Pass(subject, make_measures(["attention"], Context(subject, "")), 16000)
    names, speech, lengths = batch(0)
    with pytest.raises(ValueError, match="^utt0-0, utt0-1: an utterance has 3 samples"):
        run.update((names, speech, torch.tensor([6000, 3])))
    with pytest.raises(ValueError, match="^utt0-0, utt0-1: block 0: the attention maps hold NaN"):
        run.update((names, torch.full_like(speech, torch.nan), lengths))
    assert run.utterances == 0
    with pytest.raises(ValueError, match="no measure 'x'"):
        make_measures(["x"], Context(subject, ""))
    with pytest.raises(ValueError, match="attention is given twice"):
        make_measures(["attention", "patterns", "attention"], Context(subject, ""))
    aligned = next(name for name, entry in MEASURES.items() if entry.aligned)
    assert aligned in default_measures(True) and aligned not in default_measures(False)
    with pytest.raises(ValueError, match=f"{aligned} needs phone alignments; give --alignments"):
        make_measures([aligned], Context(subject, ""))


@pytest.mark.parametrize("kind", ["branchformer", "e_branchformer"])
def test_an_experiment_that_is_no_plain_stack(kind, tmp_path):
    config = {"encoder": kind, "encoder_conf": {**SMALL, **MLP}, "model_conf": {"ctc_weight": 1.0}}
    config["frontend_conf"] = {"fs": "16k"}
    subject = load_subject(create_untrained(tmp_path, config, TOKENS))
    assert (subject.family, subject.width, subject.rate) == (kind, 16, 16000)
    assert (subject.heads, subject.groups) == ([2, 2], [[0], [1]])
    assert subject.clock.shift == 512 and subject.stack is None  # hops of 128, four at a time
    names, speech, lengths = batch(4)
    seen, states = [], []
    with torch.no_grad(), attention_maps(subject.encoder, lambda *args: seen.append(args)):
        with hidden_states(subject.encoder, lambda *args: states.append(args)):
            wanted, frames = subject.experiment.model.encode(speech, lengths)
    assert torch.equal(states[-1][1][0], wanted[0]) and len(states) == 3
    watcher = Watcher(MAPS, STATES)
    Pass(subject, [watcher], 16000).update((names, speech, lengths))
    assert [call[2] for call in watcher.calls[1:]] == [frames.tolist()] * 3
    attention, similarity, patterns = make_measures(
        ["attention", "map_similarity", "patterns"], Context(subject, "")
    )
    Pass(subject, [attention, similarity, patterns], 16000).update((names, speech, lengths))
    assert [len(block["heads"]) for block in attention.result()["blocks"]] == [2, 2]
    assert subject.describe()["family"] == kind


def test_fingerprints_tell_models_apart(subject):
    torch.manual_seed(1)
    other = Subject("other", Wav2Vec2Stack(Wav2Vec2Config(**LAYOUT)).eval())
    torch.manual_seed(0)
    same = Subject("same", Wav2Vec2Stack(Wav2Vec2Config(**LAYOUT)).eval())
    assert same.fingerprint == subject.fingerprint != other.fingerprint


def test_models_that_cannot_be_loaded_say_so(tmp_path, subject):
    with pytest.raises(StackError, match="not there"):
        load_subject(tmp_path / "nothing")
    subject.stack.save(tmp_path / "stack.pt")
    assert load_subject(tmp_path / "stack.pt").fingerprint == subject.fingerprint
    with pytest.raises(StackError, match="no ESPnet experiment, so it has no checkpoint"):
        load_subject(tmp_path / "stack.pt", "valid.loss.ave.pth")
    for encoder, conf in (("transformer", {"linear_units": 8}), ("branchformer", MLP)):
        config = {"encoder": encoder, "encoder_conf": {**SMALL, **conf}, "input_size": 20}
        config |= {"frontend": None, "model_conf": {"ctc_weight": 1.0}}
        with pytest.raises(StackError, match="takes features|is no Conformer and no Transformer"):
            load_subject(create_untrained(tmp_path / encoder, config, TOKENS))
