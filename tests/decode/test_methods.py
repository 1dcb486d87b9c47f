"""Every method on tiny real models: graphs, language models, attention, stored lattices."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile
import torch
from tiny_models import SENTENCES, write_experiment

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")
pytest.importorskip("kaldilm", reason="kaldilm is not installed")

from espnet_plugin.bin import (  # noqa: E402
    asr_inference_k2,
    tune_scales,  # noqa: E402
)
from espnet_plugin.decode import CtcDecoder, LatticeStore, Scales  # noqa: E402

ROOT = Path(__file__).parents[2]


def command(*words: object) -> None:
    asr_inference_k2.main([str(word) for word in ("--num_workers", 0, *words)])


def text(directory: Path) -> dict[str, str]:
    lines = (directory / "1best_recog" / "text").read_text().splitlines()
    return {line.split(" ")[0]: line.split(" ", 1)[1] for line in lines}


def test_stored_lattices_give_what_the_decoding_gave(tiny_experiment, lang, data, tmp_path) -> None:
    speech = ["--exp_dir", tiny_experiment, "--data_dir", data, "--graph", lang / "HLG.pt"]
    for method, more in (
        ("hlg", []),
        ("nbest", ["--num_paths", 5]),
        ("nbest_oracle", ["--text", data / "text", "--num_paths", 20]),
        ("nbest_rescoring", ["--lm", lang / "lm.arpa", "--lm_scale", 0.5]),
        ("whole_lattice_rescoring", ["--lm", lang / "lm.arpa", "--lm_scale", 0.5]),
    ):
        out = tmp_path / method
        scale = [] if "--lm_scale" not in more else more[-2:]
        more = more[: len(more) - len(scale)]
        command(*speech, "--method", method, *more, "--output_dir", out)
        command("--from_lattices", out / "lattices", "--method", method, *more,
                "--output_dir", tmp_path / "again")  # fmt: skip
        found = text(out)
        assert list(found) == ["a", "b", "c"] and found["b"] == ""
        assert text(tmp_path / "again") == found
        assert set(" ".join(found.values()).split()) <= set(" ".join(SENTENCES).split())
    store = LatticeStore(tmp_path / "hlg" / "lattices")
    assert store.meta["kind"] == "HLG" and store.meta["words"][0] == "<eps>"
    assert store.meta["seconds_per_frame"] == pytest.approx(0.04)
    assert store.places["b"] is None
    assert text(tmp_path / "nbest") == text(tmp_path / "hlg")


def test_tune_finds_scales_that_the_command_takes(tiny_experiment, lang, data, tmp_path) -> None:
    command("--exp_dir", tiny_experiment, "--data_dir", data, "--graph", lang / "HLG.pt",
            "--output_dir", tmp_path / "out")  # fmt: skip
    stored = ["--lattices", tmp_path / "out" / "lattices", "--text", data / "text"]
    tune_scales.main([str(w) for w in (*stored, "--acoustic_scale", 0.5, 1, "--lm_scale", 1, 2,
                                       "--out", tmp_path / "scales.yaml")])  # fmt: skip
    table = (tmp_path / "scales.md").read_text().splitlines()
    settings = [tuple(line.split("|")[1:4]) for line in table[2:]]
    assert len(settings) == len(set(settings)) == 4
    errors = [int(line.split("|")[4]) for line in table[2:]]
    assert errors[0] == min(errors)
    command("--config", tmp_path / "scales.yaml", "--from_lattices", tmp_path / "out" / "lattices",
            "--output_dir", tmp_path / "again")  # fmt: skip
    assert list(text(tmp_path / "again")) == ["a", "b", "c"]


def test_a_configuration_that_names_a_graph_rescores_lattices(
    tiny_experiment, lang, data, tmp_path
) -> None:
    command("--exp_dir", tiny_experiment, "--data_dir", data, "--graph", lang / "HLG.pt",
            "--output_dir", tmp_path / "out")  # fmt: skip
    command("--config", ROOT / "conf" / "decode_k2_nbest.yaml", "--output_dir", tmp_path / "again",
            "--from_lattices", tmp_path / "out" / "lattices")  # fmt: skip
    assert text(tmp_path / "again") == text(tmp_path / "out")


def test_words_tokens_and_parts_of_a_hypothesis(tiny_experiment, lang, waveforms) -> None:
    decoder = CtcDecoder.from_experiment(
        tiny_experiment, method="hlg", graph=lang / "HLG.pt", scales=Scales(acoustic=0.7, hlg=1.5)
    )
    for one in decoder(waveforms)[:2]:
        assert one.words and one.text == " ".join(one.words)
        assert one.tokens == [decoder.text.token_list[i] for i in one.token_ids]
        assert "".join(one.tokens).replace("▁", " ").split() == one.words
        total = 0.7 * one.scores["am"] + 1.5 * (one.scores["lm"] + one.scores["lexicon"])
        assert one.score == pytest.approx(total, abs=1e-3)


def test_a_graph_of_other_tokens_is_refused(lang, tmp_path) -> None:
    other = write_experiment(tmp_path / "asr", vocab_size=45)
    with pytest.raises(ValueError, match="the graph has .* compile the graph with the model's own"):
        CtcDecoder.from_experiment(other, method="hlg", graph=lang / "HLG.pt")


@pytest.mark.parametrize("method", ["hlg", "nbest_rescoring", "whole_lattice_rescoring"])
def test_what_a_method_needs_is_named(method, tiny_experiment) -> None:
    with pytest.raises(ValueError, match=f"method {method} needs a graph over words"):
        CtcDecoder.from_experiment(tiny_experiment, method=method)


def test_attention_rescoring_needs_a_decoder(tiny_experiment) -> None:
    with pytest.raises(ValueError, match="needs a model with an attention decoder"):
        CtcDecoder.from_experiment(tiny_experiment, method="attention_rescoring")


def test_the_notebook_example_of_the_documentation(
    tiny_experiment, lang, data, monkeypatch, tmp_path, capsys
) -> None:
    page = (ROOT / "docs" / "decode.md").read_text(encoding="utf-8")
    code = re.search(r"## From Python\n+```python\n(.*?)```", page, re.S).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) < 10
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "asr_conformer").symlink_to(tiny_experiment)
    (tmp_path / "data" / "lang").mkdir(parents=True)
    (tmp_path / "data" / "lang" / "HLG.pt").symlink_to(lang / "HLG.pt")
    soundfile.write(tmp_path / "speech.flac", soundfile.read(data / "a.wav")[0], 16000)
    exec(compile(code, "decode.md", "exec"), {})
    assert re.search(r"-\d+\.\d+", capsys.readouterr().out)


def test_attention_rescoring_equals_espnets_sum(tmp_path, waveforms) -> None:
    """The total is am_weight·CTC + decoder_weight·decoder by the model's own nll."""
    directory = write_experiment(tmp_path / "asr", decoder="transformer")
    decoder = CtcDecoder.from_experiment(
        directory, method="attention_rescoring", num_paths=20, am_weight=0.8
    )
    encoded = decoder.encode(waveforms[:1])
    best = decoder(waveforms[:1])[0]
    tokens = torch.tensor([best.token_ids])
    with torch.no_grad():
        nll = decoder.model.nll(encoded.hidden, encoded.lengths, tokens,
                                torch.tensor([len(best.token_ids)]))  # fmt: skip
    assert best.scores["attention"] == pytest.approx(-float(nll[0]), abs=1e-3)
    total = 0.8 * best.scores["am"] + 0.5 * best.scores["attention"]
    assert best.score == pytest.approx(total, abs=1e-4)
