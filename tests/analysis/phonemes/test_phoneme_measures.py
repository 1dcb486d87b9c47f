"""relation, phoneme_attention and segmentation in the suite, on real speech and a small model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from espnet_plugin.analysis.phoneme import (
    concentration,
    phoneme_attention,
    phoneme_relation_map,
)
from espnet_plugin.analysis.phonemes.labels import FOLDED, STRESSED, Aligned, PhoneLabels
from espnet_plugin.analysis.phonemes.phone_kinds import KINDS, MANNERS, pair_kinds, pair_places
from espnet_plugin.analysis.suite.measure import Context, Utterances
from espnet_plugin.analysis.suite.registry import make_measures
from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.analysis.suite.subject import load_subject
from espnet_plugin.analysis.sums.resample import mean_intervals, ratio_intervals
from espnet_plugin.data.phones import ARPABET
from espnet_plugin.stacks.batches import list_utterances, plan_batches, read_batch
from espnet_plugin.stacks.hooks import attention_maps

NAMES = ["relation", "phoneme_attention", "segmentation"]


def test_every_pair_of_phones_is_of_one_kind() -> None:
    assert sorted(phone for phones in MANNERS.values() for phone in phones) == list(ARPABET)
    for symbols in (FOLDED, STRESSED):
        kinds = pair_kinds(symbols)
        assert (kinds.sum(0) + (kinds.sum(0) == 0) == 1).all()
        assert not kinds[:, -1].any()  # silence
        assert (kinds == kinds.transpose(1, 2)).all()
    place = {symbol: n for n, symbol in enumerate(FOLDED)}
    kinds = dict(zip(KINDS, pair_kinds(FOLDED), strict=True))
    assert kinds["same"][place["B"], place["B"]]
    assert kinds["similar"][place["B"], place["P"]]
    assert kinds["class"][place["B"], place["K"]]
    assert kinds["other"][place["B"], place["AA"]]
    assert pair_places(FOLDED)["P/B"] == (place["P"], place["B"])


def test_intervals_hold_the_mean_and_shrink_to_it() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, (400, 2))
    values[:, 1] = 5.0
    values[::2, 1] = np.nan
    mean, low, high = mean_intervals(values)
    assert mean[0] == pytest.approx(values[:, 0].mean())
    assert low[0] == pytest.approx(mean[0] - 1.96 / 20, abs=0.02)
    assert high[0] == pytest.approx(mean[0] + 1.96 / 20, abs=0.02)
    assert (mean[1], low[1], high[1]) == (5.0, 5.0, 5.0)
    ratio, low, high = ratio_intervals(2 * values, values)
    assert np.allclose([ratio, low, high], 2.0)
    empty = mean_intervals(np.full((3, 1), np.nan))
    assert all(np.isnan(figure).all() for figure in empty)


@pytest.fixture(scope="module")
def data(tmp_path_factory: Any, data_root: Path) -> Path:
    """The shortest aligned utterances of the LibriSpeech subset, without unknown words."""
    grids = data_root / "alignments" / "train-clean-100"
    if not grids.is_dir():
        pytest.skip(f"no TextGrids in {grids}")
    directory = tmp_path_factory.mktemp("data")
    paths = (data_root / "LibriSpeech" / "train-clean-100").rglob("*.flac")
    aligned = {path.stem: path for path in grids.rglob("*.TextGrid")}
    short = sorted(paths, key=lambda p: p.stat().st_size)[:12]
    chosen = [p for p in short if '"spn"' not in aligned[p.stem].read_text(encoding="utf-8")][:7]
    (directory / "wav.scp").write_text("".join(f"{p.stem} {p}\n" for p in chosen))
    (directory / "grids").mkdir()
    for path in chosen:
        (directory / "grids" / f"{path.stem}.TextGrid").symlink_to(aligned[path.stem])
    return directory


@pytest.fixture(scope="module")
def subject(tmp_path_factory: Any) -> Any:
    from espnet_plugin.stacks.untrained import create_untrained

    config = {
        "encoder": "reuse_conformer",
        "encoder_conf": {
            "output_size": 16,
            "attention_heads": 2,
            "linear_units": 16,
            "num_blocks": 3,
            "cnn_module_kernel": 3,
            "rel_pos_type": "latest",
            "reuse_groups": [[0, 1], [2]],
        },
        "model_conf": {"ctc_weight": 1.0},
    }
    tokens = ["<blank>", "<unk>", "<sos/eos>"]
    return load_subject(create_untrained(tmp_path_factory.mktemp("exp") / "asr", config, tokens))


def _context(subject: Any, data: Path, **options: Any) -> Context:
    labels = PhoneLabels.read(data / "grids")
    return Context(subject, str(data), list_utterances(data), labels, options)


def _run(subject: Any, data: Path, batches: Any, names: Any = None, **options: Any) -> list[Any]:
    measures = make_measures(names or NAMES, _context(subject, data, **options))
    run = Pass(subject, measures, 16000)
    for batch in batches:
        run.update(read_batch(batch))
    return measures


@pytest.fixture(scope="module")
def batches(data: Path) -> list[Any]:
    return plan_batches(list_utterances(data), 6.0)


@pytest.fixture(scope="module")
def measured(subject: Any, data: Path, batches: list[Any]) -> dict[str, Any]:
    return dict(zip(NAMES, _run(subject, data, batches), strict=True))


@pytest.fixture(scope="module")
def maps(subject: Any, batches: list[Any]) -> dict[str, Any]:
    """Utterance -> the maps (leaders, H, T, T) of the same batches."""
    found: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        names, speech, samples = read_batch(batch)

        def look(block: int, block_maps: torch.Tensor, lengths: torch.Tensor) -> None:
            if block in subject.leaders:
                for name, one, n in zip(names, block_maps, lengths, strict=True):  # noqa: B023
                    found.setdefault(name, []).append(one[:, :n, :n].clone())

        with torch.inference_mode(), attention_maps(subject.encoder, look):
            subject.run(speech, samples)
    return {name: torch.stack(own) for name, own in found.items()}


def _labels(measured: Any, name: str, frames: int, factor: int) -> torch.Tensor:
    labels, clock = measured["relation"].labels, measured["relation"].clock
    return labels.frames(name, clock.finer(factor), frames * factor, 16000)[None]


def test_relation_is_that_of_the_function(measured: Any, maps: Any) -> None:
    """The measure's map is the function's on a batch of all utterances."""
    factor = measured["relation"].labels_per_frame
    assert factor == 2  # 40 ms frames, labels of 20 ms
    longest = max(own.shape[-1] for own in maps.values())
    lengths = [own.shape[-1] for own in maps.values()]
    padded = torch.full((len(maps), 4, longest, longest), torch.nan)
    labels = torch.full((len(maps), longest * factor), -1)
    for row, (name, own) in enumerate(maps.items()):
        n = own.shape[-1]
        padded[row, :, :n, :n] = own.flatten(0, 1)
        labels[row, : n * factor] = _labels(measured, name, n, factor)
    wanted = phoneme_relation_map(padded, lengths, labels, 40)
    found = measured["relation"].arrays()
    np.testing.assert_allclose(found["relation"], wanted.numpy(), rtol=1e-9, atol=1e-12)
    assert found["block"].tolist() == [0, 0, 2, 2]
    np.testing.assert_allclose(found["concentration"], concentration(wanted).numpy(), atol=1e-12)
    assert found["labels"].sum() == (labels >= 0).sum()


def test_relationship_and_kinds_are_those_of_the_function(measured: Any, maps: Any) -> None:
    found = []
    for name, own in sorted(maps.items()):
        n = own.shape[-1]
        labels = _labels(measured, name, n, 1)
        found.append(phoneme_attention(own.flatten(0, 1)[None], [n], labels, 40)[0])
    stacked = torch.stack(found)
    arrays = measured["phoneme_attention"].arrays()
    wanted = stacked.nanmean(0).numpy()
    np.testing.assert_allclose(arrays["relationship"], wanted, rtol=1e-9, atol=1e-12)
    assert (arrays["pair_utterances"] == (~stacked[:, 0].isnan()).sum(0).numpy()).all()
    kinds = pair_kinds(FOLDED)
    for u in range(len(found)):
        for k in range(4):
            one = stacked[u][:, kinds[k]].nanmean(-1).numpy()
            np.testing.assert_allclose(arrays["values"][u, :, k], one, rtol=1e-9)
    assert arrays["utterances"].tolist() == sorted(maps)


@pytest.mark.parametrize("name", NAMES)
def test_any_split_merges_to_the_same_bits(
    subject: Any, data: Path, batches: list[Any], measured: Any, name: str, tmp_path: Path
) -> None:
    from espnet_plugin.compat import torch_load

    assert len(batches) > 2
    for split in ([[0], [1], list(range(2, len(batches)))], [list(range(1, len(batches))), [0]]):
        parts = [_run(subject, data, [batches[i] for i in part], [name])[0] for part in split]
        torch.save(parts[-1].state_dict(), tmp_path / "state.pt")
        whole = make_measures([name], _context(subject, data))[0]
        whole.load_state_dict(torch_load(tmp_path / "state.pt"))
        for part in parts[:-1]:
            whole.merge(part)
        assert whole.result() == measured[name].result()
        assert whole.tables() == measured[name].tables()
        for key, wanted in measured[name].arrays().items():
            np.testing.assert_array_equal(whole.arrays()[key], wanted)
        with pytest.raises(ValueError, match="measured twice"):
            whole.merge(parts[0])


def test_results_are_plain_and_tables_are_whole(measured: Any) -> None:
    import json

    for name in NAMES:
        result = measured[name].result()
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert {source["mark"] for source in result["sources"].values()} <= {"P", "I"}
        for rows in measured[name].tables().values():
            assert len({len(row) for row in rows}) == 1
            assert len(rows) >= 5
    relation = measured["relation"].result()
    assert [block["block"] for block in relation["blocks"]] == [0, 2]
    head = relation["blocks"][0]["heads"][0]
    assert head["extreme"] in ("focus", "neglect")
    assert head["focus"]["concentration"] >= head["neglect"]["concentration"]
    one = measured["phoneme_attention"].result()["blocks"][1]["heads"][1]
    low, high = one["localisation"]["interval_95"]
    assert low <= one["localisation"]["mean"] <= high
    block = measured["phoneme_attention"].result()["blocks"][1]
    values = measured["phoneme_attention"].arrays()["values"][:, 2:]  # the second leader's heads
    same, other = (values[..., KINDS.index(kind)].mean(1) for kind in ("same", "other"))
    both = np.isfinite(same + other)
    wanted = same[both].mean() / other[both].mean()
    assert block["localisation"]["mean"] == pytest.approx(wanted, rel=1e-12)


def test_segmentation_chooses_on_one_half_and_scores_on_the_other(measured: Any) -> None:
    from espnet_plugin.analysis.phonemes.segmentation import BoundaryCounts

    measure = measured["segmentation"]
    result, arrays = measure.result(), measure.arrays()
    assert result["utterances"] == {"choice": 4, "scored": 3}
    assert result["left_out"] == {}
    counts = arrays["counts"]
    assert counts.shape == (7, 4 + 2, 10, 3)
    choice, scored = counts[::2].sum(0), counts[1::2].sum(0)
    values = np.array([[BoundaryCounts(*s).r_value for s in head] for head in choice[:4].tolist()])
    head, setting = np.unravel_index(values.argmax(), values.shape)
    best = result["best"]
    assert (best["block"], best["head"]) == (arrays["block"][head], arrays["head"][head])
    assert (best["alpha"], best["beta"]) == (arrays["alpha"][setting], arrays["beta"][setting])
    wanted = BoundaryCounts(*scored[head, setting].tolist())
    assert (best["hits"], best["found"], best["true"]) == tuple(wanted)
    assert best["r_value"] == pytest.approx(wanted.r_value)
    low, high = best["interval_95"]
    assert low <= high
    # what is scored has no say in what is chosen
    other = copy.deepcopy(measure)
    for name in sorted(other.counts)[1::2]:
        other.counts[name] = other.counts[name].flip(0)
    assert [h["alpha"] for h in other.result()["heads"]] == [h["alpha"] for h in result["heads"]]
    assert other.result()["best"]["head"] == best["head"]


def test_mfccs_segment_real_speech(measured: Any) -> None:
    """Above 0.6; Yang et al. give 0.767 for TIMIT."""
    baseline = measured["segmentation"].result()["baselines"]["mfcc_10ms"]
    assert baseline["r_value"] > 0.6


def test_utterances_without_alignment_are_left_out_and_named(subject: Any, data: Path) -> None:
    context = _context(subject, data)
    names = sorted(u.utt_id for u in context.utterances)
    grids = PhoneLabels.read(data / "grids")
    readers = {n: (lambda n=n: Aligned(grids.phones(n), [])) for n in names[1:]}
    context.alignments = PhoneLabels(readers, without=frozenset(names[:1]))
    measures = make_measures(NAMES, context)
    run = Pass(subject, measures, 16000)
    for batch in plan_batches(list(context.utterances), 30.0):
        run.update(read_batch(batch))
    for measure in measures[:2]:
        assert measure.result()["without_alignment"] == names[:1]
        assert measure.result()["utterances"] == 6
    assert measures[2].result()["left_out"] == {names[0]: "it has no alignment"}
    context.alignments = PhoneLabels(readers, source="grids")
    for name in NAMES:
        (measure,) = make_measures([name], context)
        with pytest.raises(ValueError, match=f"^{names[0]}: no phone alignment in grids"):
            run = Pass(subject, [measure], 16000)
            run.update(read_batch([u for u in context.utterances if u.utt_id == names[0]]))


def test_nothing_measured_is_said(subject: Any, data: Path) -> None:
    for measure in make_measures(NAMES, _context(subject, data)):
        with pytest.raises(ValueError, match=measure.name):
            measure.result()
        batch = Utterances(["u", "u"], torch.tensor([1, 1]), 16000, torch.zeros(2, 1))
        with pytest.raises(ValueError, match=r"^u: "):
            measure.begin(batch)


def test_stress_makes_more_classes(subject: Any, data: Path, batches: list[Any]) -> None:
    context = _context(subject, data)
    context.alignments = PhoneLabels.read(data / "grids", STRESSED)
    (measure,) = make_measures(["relation"], context)
    Pass(subject, [measure], 16000).update(read_batch(batches[0]))
    assert measure.arrays()["relation"].shape == (4, 70, 70)
    assert "AH0" in measure.result()["labels"]
