"""The measure of examples: which utterances, what is kept of them, any split into jobs."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "report"))
from analysis_files import RATE, frames_of, make_context, make_maps  # noqa: E402

from espnet_plugin.analysis.attention import MEASURES, measure  # noqa: E402
from espnet_plugin.analysis.examples.examples import SIDE, Examples, choose  # noqa: E402
from espnet_plugin.analysis.examples.pictures import decode, quantise  # noqa: E402
from espnet_plugin.analysis.suite.measure import Utterances  # noqa: E402

GROUPS, HEADS = ((0,), (1, 2)), 3


@pytest.fixture
def context(tmp_path):
    return make_context(tmp_path, (0.6, 1.3, 0.9, 1.1), GROUPS, HEADS)


def run(measured, batches):
    """Batches of utterances, padded; beyond an utterance's frames the maps hold NaN."""
    context = measured.context
    for batch in batches:
        lengths = torch.tensor([frames_of(one) for one in batch])
        samples = torch.tensor([one.samples for one in batch])
        names = [one.utt_id for one in batch]
        measured.begin(Utterances(names, samples, RATE, torch.zeros(len(batch), 0)))
        for block in context.encoder.leaders:
            frames = int(lengths.max())
            maps = torch.full((len(batch), HEADS, frames, frames), torch.nan)
            for row, own in enumerate(lengths.tolist()):
                maps[row, :, :own, :own] = make_maps(block, HEADS, own)[0]
            measured.look(block, maps, lengths)
        measured.end([], lengths)
    return measured


def new(context, most=10**6, chosen=None):
    return Examples(context, chosen or context.utterances, most)


def test_pictures_and_figures_are_those_of_the_maps(context):
    found = run(new(context), [context.utterances[:2], context.utterances[2:]])
    result, arrays = found.result(), found.arrays()
    assert [one["seconds"] for one in result["utterances"]] == [0.6, 0.9, 1.1, 1.3]
    assert result["clock"] == {"shift": 320, "centre": 200, "rate": RATE}
    by_name = {one.utt_id: one for one in context.utterances}
    for utterance in result["utterances"]:
        frames = frames_of(by_name[utterance["id"]])
        assert utterance["frames"] == frames
        assert [block["block"] for block in utterance["blocks"]] == [0, 1]  # 2 uses the map of 1
        for block in utterance["blocks"]:
            maps = make_maps(block["block"], HEADS, frames)
            exact = measure(maps, [frames])
            for head in block["heads"]:
                weights = maps[0, head["head"]].numpy()
                data = arrays["pictures"][head["place"] :][: head["bytes"]].tobytes()
                assert np.array_equal(decode(data), quantise(weights)[0])
                assert head["maximum"] == weights.max() and head["quality"] == 100
                for name in MEASURES:
                    assert head[name] == float(getattr(exact, name)[0, head["head"]])


def test_sound_phones_and_thumbnails_are_kept(context):
    found = run(new(context), [context.utterances])
    result, arrays = found.result(), found.arrays()
    for n, utterance in enumerate(result["utterances"]):
        samples, rate = soundfile.read(io.BytesIO(arrays[f"sound_{n}"].tobytes()))
        assert len(samples) == round(utterance["seconds"] * RATE) and rate == RATE
        assert str(arrays[f"kind_{n}"]).startswith("audio/ogg")
        assert utterance["phones"][0] == [0.0, 0.085, "SIL"]
        assert utterance["words"][1][2] == "QUICK" and utterance["text"].startswith("THE QUICK")
        assert decode(arrays[f"thumbnails_{n}"].tobytes()).shape == (2 * SIDE, HEADS * SIDE)
    rows = found.tables()[""]
    assert len(rows) == 1 + 4 * 2 * HEADS and rows[0][:4] == [
        "utterance",
        "frames",
        "block",
        "head",
    ]


def test_any_split_gives_the_same_bytes(context):
    whole = run(new(context), [context.utterances])
    parts = [run(new(context), [[one]]) for one in context.utterances]
    merged = new(context)
    for part in reversed(parts):
        again = new(context)
        stream = io.BytesIO()
        torch.save(part.state_dict(), stream)
        stream.seek(0)
        again.load_state_dict(torch.load(stream, weights_only=True))
        merged.merge(again)
    assert merged.result() == whole.result()
    assert all(np.array_equal(a, whole.arrays()[k]) for k, a in merged.arrays().items())
    with pytest.raises(ValueError, match="kept twice"):
        merged.merge(parts[0])


def test_what_was_not_chosen_is_not_kept(context):
    found = run(new(context, chosen=context.utterances[1:2]), [context.utterances])
    assert [one["id"] for one in found.result()["utterances"]] == ["tone-1"]


def test_pictures_share_the_bytes_by_frames_squared(context):
    small = run(new(context, most=60_000), [context.utterances])
    sizes = {one["id"]: one for one in small.result()["utterances"]}
    total = sum(h["bytes"] for u in sizes.values() for b in u["blocks"] for h in b["heads"])
    assert total <= 60_000
    share = {
        name: sum(h["bytes"] for b in one["blocks"] for h in b["heads"])
        for name, one in sizes.items()
    }
    assert share["tone-1"] > share["tone-0"]


def test_utterances_are_chosen_by_number_or_id(context):
    def names(*wanted):
        return [one.utt_id for one in choose(context.utterances, wanted)]

    assert names("2") == ["tone-0", "tone-1"]  # the shortest and the longest
    assert names("3") == ["tone-0", "tone-3", "tone-1"]
    assert names("1") == ["tone-3"] and len(names("99")) == 4
    assert names("tone-2", "tone-0") == ["tone-2", "tone-0"]
    with pytest.raises(ValueError, match="no utterance nobody"):
        names("tone-1", "nobody")
    with pytest.raises(ValueError, match="named twice"):
        names("tone-1", "tone-1")
    with pytest.raises(ValueError, match="are none"):
        names("0")
