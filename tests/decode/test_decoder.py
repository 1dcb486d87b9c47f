from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import write_experiment

from espnet_plugin.decode import METHODS, CtcDecoder, LatticeWriter, best_paths, load_lattice
from espnet_plugin.decode.text import TokenText, find_bpemodel


def test_greedy_needs_no_k2_and_loses_no_utterance(tiny_experiment: Path, waveforms) -> None:
    decoder = CtcDecoder.from_experiment(tiny_experiment, method="greedy")
    results = decoder(waveforms)
    assert len(results) == len(waveforms)
    assert all(result.token_ids for result in results[:2])
    for result in results[-2:]:  # too short for the encoder, and nothing at all
        assert (result.text, result.tokens, result.token_ids) == ("", [], [])
    for result in results:
        assert result.tokens == [decoder.text.token_list[i] for i in result.token_ids]
        assert result.score <= 0


def test_one_utterance_by_itself_is_what_espnet_computes(tiny_experiment: Path, waveforms) -> None:
    decoder = CtcDecoder.from_experiment(tiny_experiment, method="greedy")
    log_probs, lengths = decoder.posteriors(waveforms[:1])
    speech = torch.from_numpy(waveforms[0])[None]
    with torch.no_grad():
        encoded, frames = decoder.model.encode(speech, torch.tensor([speech.shape[1]]))
        expected = decoder.model.ctc.log_softmax(encoded)
    assert lengths.tolist() == frames.tolist()
    torch.testing.assert_close(log_probs, expected)


def test_short_utterances_are_empty_among_longer_ones_too(tiny_experiment: Path) -> None:
    generator = np.random.default_rng(0)
    decoder = CtcDecoder.from_experiment(tiny_experiment, method="greedy")
    sizes = [0, 1, 199, 300, 700, 1100, 1600, 16000]
    arrays = [generator.normal(0, 0.1, size).astype(np.float32) for size in sizes]
    log_probs, lengths = decoder.posteriors(arrays)
    for i, array in enumerate(arrays):
        alone, frames = decoder.posteriors([array])
        assert lengths[i] == frames[0]
        if i < len(arrays) - 1:
            torch.testing.assert_close(log_probs[i, : lengths[i]], alone[0])
    assert lengths.tolist()[:4] == [0, 0, 0, 0] and lengths[-1] > 20


def test_silence(tiny_experiment: Path) -> None:
    decoder = CtcDecoder.from_experiment(tiny_experiment, method="greedy")
    result = decoder([np.zeros(8000, dtype=np.float32)])[0]
    assert np.isfinite(result.score)


def test_intermediate_ctc_outputs(tmp_path: Path, waveforms) -> None:
    conf = {"interctc_layer_idx": [1], "interctc_use_conditioning": True}
    directory = write_experiment(tmp_path / "asr", encoder_conf=conf)
    decoder = CtcDecoder.from_experiment(directory, method="greedy")
    with torch.no_grad():
        speech = torch.from_numpy(waveforms[0])[None]
        encoded, _ = decoder.model.encode(speech, torch.tensor([speech.shape[1]]))
    assert isinstance(encoded, tuple)
    log_probs, _ = decoder.posteriors(waveforms[:1])
    torch.testing.assert_close(log_probs, decoder.model.ctc.log_softmax(encoded[0]).detach())


SMALL = {"output_size": 16, "attention_heads": 2, "num_blocks": 2, "dropout_rate": 0.0}


@pytest.mark.parametrize(
    "encoder, conf",
    [
        ("transformer", {**SMALL, "linear_units": 32}),
        ("e_branchformer", {**SMALL, "cgmlp_linear_units": 32, "linear_units": 32}),
        ("reuse_conformer", {"reuse_groups": 2}),
    ],
)
def test_other_encoders(encoder: str, conf: dict, tmp_path: Path, waveforms) -> None:
    directory = write_experiment(tmp_path / "asr", encoder=encoder, encoder_conf=conf)
    results = CtcDecoder.from_experiment(directory, method="greedy")(waveforms)
    assert all(np.isfinite(result.score) for result in results)
    assert [bool(result.token_ids) for result in results] == [True] * 4 + [False] * 2


def test_blank_bias_moves_the_blank(tiny_experiment: Path, waveforms) -> None:
    plain = CtcDecoder.from_experiment(tiny_experiment, method="greedy")
    biased = CtcDecoder.from_experiment(tiny_experiment, method="greedy", blank_bias=-100.0)
    one, _ = plain.posteriors(waveforms[:1])
    two, _ = biased.posteriors(waveforms[:1])
    torch.testing.assert_close(two[..., 0], one[..., 0] - 100.0)
    torch.testing.assert_close(two[..., 1:], one[..., 1:])


@pytest.mark.parametrize("method", [name for name in METHODS if name != "greedy"])
def test_without_k2_a_method_says_what_to_install(method, tiny_experiment, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "k2", None)  # so that importing it fails
    with pytest.raises(ImportError, match="k2 is not installed: pip install .*k2.* torch"):
        CtcDecoder.from_experiment(tiny_experiment, method=method)
    assert CtcDecoder.from_experiment(tiny_experiment, method="greedy").graph is None


def test_refuses_nonsense(tiny_experiment: Path) -> None:
    with pytest.raises(ValueError, match="method must be one of"):
        CtcDecoder.from_experiment(tiny_experiment, method="beam")
    with pytest.raises(ValueError, match="lattice_weight"):
        CtcDecoder.from_experiment(tiny_experiment, method="greedy", lattice_weight=0.0)


def test_text_is_sentencepieces(tiny_experiment: Path) -> None:
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor()
    pieces.load(str(tiny_experiment / "bpe.model"))
    tokens = ["<blank>", "<unk>"] + [pieces.id_to_piece(i) for i in range(3, len(pieces))]
    text = TokenText(tokens, "bpe", str(tiny_experiment / "bpe.model"))
    for sentence in ("the quick brown fox", "she sells peppers"):
        ids = [tokens.index(piece) for piece in pieces.encode_as_pieces(sentence)]
        assert text(ids)[0] == sentence
    assert text([1])[1] == ["<unk>"]
    assert text([1])[0] == pieces.decode_pieces(["<unk>"])
    with pytest.raises(ValueError, match="--bpemodel"):
        TokenText(tokens, "bpe")


def test_bpemodel_is_found_from_anywhere(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "exp" / "asr").mkdir(parents=True)
    (tmp_path / "data" / "bpe.model").write_bytes(b"x")
    monkeypatch.chdir("/")
    found = find_bpemodel("data/bpe.model", tmp_path / "exp" / "asr")
    assert found == str(tmp_path / "data" / "bpe.model")
    with pytest.raises(FileNotFoundError, match="nothing.model"):
        find_bpemodel("data/nothing.model", tmp_path / "exp" / "asr")
    assert find_bpemodel(None, tmp_path) is None


class TestWithK2:
    @pytest.fixture(autouse=True)
    def k2(self):
        return pytest.importorskip("k2", reason="k2 is not installed for this torch")

    def test_equals_espnets_own_decoder(self, tiny_experiment: Path, waveforms) -> None:
        from espnet2.bin.asr_inference_k2 import k2Speech2Text

        theirs = k2Speech2Text(
            str(tiny_experiment / "config.yaml"), str(tiny_experiment / "valid.loss.ave.pth")
        )
        ours = CtcDecoder.from_experiment(tiny_experiment)
        for waveform in waveforms[:4]:
            batch = {"speech": waveform[None], "speech_lengths": np.array([len(waveform)])}
            text, tokens, ids, score = theirs(batch)[0]
            result = ours([waveform])[0]
            assert (result.text, result.tokens, result.token_ids) == (text, tokens, ids)
            assert result.score == pytest.approx(score, abs=1e-9)

    def test_no_utterance_disappears(self, tiny_experiment: Path, waveforms) -> None:
        ctc = CtcDecoder.from_experiment(tiny_experiment)
        greedy = CtcDecoder.from_experiment(tiny_experiment, method="greedy")
        decoded = ctc.decode(waveforms)
        assert sorted(decoded.lattices.utterances) == [0, 1, 2, 3]
        assert decoded.encoder_seconds > 0 and decoded.search_seconds > 0
        for one, two in zip(decoded.hypotheses, greedy(waveforms), strict=True):
            assert (one.text, one.token_ids) == (two.text, two.token_ids)
            assert one.score == pytest.approx(two.score, abs=1e-3)

    def test_lattice_weight_scales_the_score(self, tiny_experiment: Path, waveforms) -> None:
        one = CtcDecoder.from_experiment(tiny_experiment)(waveforms[:1])[0]
        half = CtcDecoder.from_experiment(tiny_experiment, lattice_weight=0.5)(waveforms[:1])[0]
        assert half.token_ids == one.token_ids
        assert half.score == pytest.approx(0.5 * one.score, rel=1e-5)

    def test_stored_lattices_give_the_same_best_path(
        self, tiny_experiment: Path, waveforms, tmp_path: Path
    ) -> None:
        decoder = CtcDecoder.from_experiment(tiny_experiment)
        names = [f"utt{i}" for i in range(len(waveforms))]
        decoded = decoder.decode(waveforms)
        writer = LatticeWriter(tmp_path / "lattices")
        writer.write(names, decoded.lattices)
        writer.close()
        other = LatticeWriter(tmp_path / "lattices")  # a second job in the same directory
        other.write(["more"], decoder.decode(waveforms[:1]).lattices)
        other.close()
        for i, name in enumerate(names[:4]):
            labels, scores = best_paths(load_lattice(tmp_path / "lattices", name))
            assert labels == [decoded.hypotheses[i].token_ids]
            assert scores == [decoded.hypotheses[i].score]
        alone = decoder(waveforms[:1])[0]
        labels, _ = best_paths(load_lattice(tmp_path / "lattices", "more"))
        assert labels == [alone.token_ids]
        with pytest.raises(KeyError, match="found no path"):
            load_lattice(tmp_path / "lattices", names[-1])
        with pytest.raises(KeyError, match="no lattice of nobody"):
            load_lattice(tmp_path / "lattices", "nobody")

    def test_the_last_of_several_stored_lattices_counts(
        self, tiny_experiment: Path, waveforms, tmp_path: Path
    ) -> None:
        decoder = CtcDecoder.from_experiment(tiny_experiment)
        for waveform, other in zip(waveforms[:3], "aba", strict=True):
            decoded = decoder.decode([waveform, waveforms[3]])
            writer = LatticeWriter(tmp_path)
            writer.write(["same", other], decoded.lattices)
            writer.close()
            labels, _ = best_paths(load_lattice(tmp_path, "same"))
            assert labels == [decoded.hypotheses[0].token_ids]
            for index in tmp_path.glob("index-*.json"):
                os.utime(index, (0, 0))

    def test_log_names_the_utterance(self, tiny_experiment: Path, caplog) -> None:
        caplog.set_level(logging.WARNING)
        decoder = CtcDecoder.from_experiment(tiny_experiment)
        broken = torch.full((1, 4, decoder.model.ctc.ctc_lo.out_features), float("nan"))
        hypotheses, lattices = decoder.search(broken, torch.tensor([4]), ["spk-7"])
        assert hypotheses[0].token_ids == [] and hypotheses[0].score == -np.inf
        assert lattices.fsa is None and "spk-7" in caplog.text
