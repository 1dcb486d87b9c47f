"""Models of other encoders through the command, and utterances that no search can help."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_models import SENTENCES, write_experiment

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from espnet_plugin.bin import asr_inference_k2  # noqa: E402
from espnet_plugin.decode import CtcDecoder  # noqa: E402
from espnet_plugin.decode.graph.graph import Graph  # noqa: E402
from espnet_plugin.decode.posteriors import Encoded  # noqa: E402

SMALL = {"output_size": 16, "attention_heads": 2, "num_blocks": 2, "dropout_rate": 0.0}
ENCODERS = {
    "transformer": {**SMALL, "linear_units": 32},
    "e_branchformer": {**SMALL, "cgmlp_linear_units": 32, "linear_units": 32},
}
WORDS = set(" ".join(SENTENCES).split())


def command(*words: object) -> None:
    asr_inference_k2.main([str(word) for word in ("--num_workers", 0, *words)])


def read(directory: Path, file: str) -> dict[str, str]:
    lines = (directory / "1best_recog" / file).read_text().splitlines()
    return {line.split(" ")[0]: line.split(" ", 1)[1] for line in lines}


@pytest.fixture(scope="module", params=list(ENCODERS))
def other_experiment(request, tmp_path_factory) -> Path:
    """A model with another encoder, and with an attention decoder."""
    return write_experiment(
        tmp_path_factory.mktemp("exp") / request.param,
        encoder=request.param,
        encoder_conf=ENCODERS[request.param],
        decoder="transformer",
    )


def test_ctc_is_greedy_where_the_best_path_is(other_experiment, data, tmp_path) -> None:
    speech = ["--exp_dir", other_experiment, "--data_dir", data]
    for method in ("ctc", "greedy"):
        command(*speech, "--method", method, "--output_dir", tmp_path / method)
    assert read(tmp_path / "ctc", "token_int") == read(tmp_path / "greedy", "token_int")
    assert list(read(tmp_path / "ctc", "text")) == ["a", "b", "c"]
    assert read(tmp_path / "ctc", "token_int")["a"]


def test_hlg_says_words_of_the_graph(other_experiment, lang, data, tmp_path) -> None:
    command("--exp_dir", other_experiment, "--data_dir", data, "--graph", lang / "HLG.pt",
            "--output_dir", tmp_path)  # fmt: skip
    found = read(tmp_path, "text")
    assert list(found) == ["a", "b", "c"] and found["a"] and found["b"] == ""
    assert set(" ".join(found.values()).split()) <= WORDS


def test_attention_weighs_in(other_experiment, data, tmp_path) -> None:
    for scale in (0.0, 3.0):
        command("--exp_dir", other_experiment, "--data_dir", data, "--num_paths", 30,
                "--method", "attention_rescoring", "--attention_scale", scale,
                "--output_dir", tmp_path / str(scale))  # fmt: skip
    command("--exp_dir", other_experiment, "--data_dir", data, "--output_dir", tmp_path / "ctc")
    assert read(tmp_path / "0.0", "token_int") == read(tmp_path / "ctc", "token_int")
    with_decoder = read(tmp_path / "3.0", "score")
    for name in ("a", "c"):  # scores include the decoder's, which are below 0
        assert float(with_decoder[name]) < float(read(tmp_path / "0.0", "score")[name])


def test_an_utterance_without_a_path(tiny_experiment, tmp_path, caplog) -> None:
    """A graph that accepts one sentence of ten tokens alone, and speech of too few frames."""
    caplog.set_level(logging.WARNING)
    tokens = yaml.safe_load((tiny_experiment / "config.yaml").read_text())["token_list"]
    fsa = k2.arc_sort(k2.ctc_graph([list(range(3, 13))])[0])
    fsa.lm_scores = fsa.lexicon_scores = torch.zeros(fsa.num_arcs)
    Graph(fsa, "HLG", "standard", tokens, ["<eps>", *tokens[1:]]).save(tmp_path / "one.pt")
    generator = np.random.default_rng(0)
    lines = []
    for name, size in (("long", 24000), ("short", 4000), ("other", 20000)):
        soundfile.write(tmp_path / f"{name}.wav", generator.normal(0, 0.1, size), 16000)
        lines.append(f"{name} {tmp_path / name}.wav\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    command("--exp_dir", tiny_experiment, "--data_dir", tmp_path, "--graph", tmp_path / "one.pt",
            "--search_beam", 200, "--output_dir", tmp_path / "out")  # fmt: skip
    said = " ".join(tokens[3:13])
    assert read(tmp_path / "out", "text") == {"long": said, "short": "", "other": said}
    assert read(tmp_path / "out", "score")["short"] == "-inf"
    failed = json.loads((tmp_path / "out" / "rtf.json").read_text())["failed"]
    assert list(failed) == ["short"] and failed["short"].startswith("no path even with Beams(")
    assert caplog.text.count("short: no path with Beams(") == 3  # each time with wider ones
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message for record in errors][0].startswith("short: failed")


@pytest.mark.parametrize("method", ["nbest", "nbest_rescoring", "attention_rescoring"])
def test_half_a_minute_of_noise(method, lang, tmp_path) -> None:
    """Posteriors that say nothing for 35 s, in the topology and in the graph of words."""
    directory = write_experiment(tmp_path / "asr", decoder="transformer")
    more = {
        "nbest": {},
        "nbest_rescoring": {"graph": lang / "HLG.pt", "lm": lang / "lm.arpa"},
        "attention_rescoring": {"num_paths": 20},
    }[method]
    decoder = CtcDecoder.from_experiment(directory, method=method, **more)
    generator = torch.Generator().manual_seed(0)
    vocab = len(decoder.text.token_list)
    scores = 0.7 * torch.randn(1, 875, vocab, generator=generator)
    hidden = torch.randn(1, 875, 16, generator=generator)
    encoded = Encoded(torch.log_softmax(scores, dim=-1), torch.tensor([875]), hidden)
    lattices = decoder.lattices(encoded.log_probs, encoded.lengths)
    assert lattices.fsa.num_arcs > 300_000
    (found,) = decoder.hypotheses(lattices, encoded)
    assert len(found.token_ids) > 20 and np.isfinite(found.score)
    assert set(found.scores) == {"am", "lm", "lexicon"} | (
        {"attention"} if method == "attention_rescoring" else set()
    )
