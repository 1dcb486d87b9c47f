"""Attention rescoring against ESPnet's own scorers and its own k2 decoder."""

from __future__ import annotations

import argparse
from pathlib import Path as File
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
import yaml
from tiny_models import write_experiment

from espnet_plugin.decode.rescore.attention import attention_rescoring, attention_scores
from espnet_plugin.decode.rescore.nbest import Path, rank
from espnet_plugin.decode.scales import Scales

DECODER = {"attention_heads": 2, "linear_units": 32, "num_blocks": 2}
LM = {
    "transformer": {"embed_unit": 8, "att_unit": 16, "head": 2, "unit": 32, "layer": 1},
    "seq_rnn": {"unit": 16, "nlayers": 1},
}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> File:
    """A CTC model with a Transformer decoder, and two language models over its tokens."""
    from espnet2.tasks.lm import LMTask

    from espnet_plugin.task import ASRTask

    directory = write_experiment(tmp_path_factory.mktemp("exp") / "joint", sharpness=5.0)
    config = yaml.safe_load((directory / "config.yaml").read_text())
    dropout = dict.fromkeys(
        ["dropout_rate", "positional_dropout_rate", "self_attention_dropout_rate"], 0.0
    )
    config.update(decoder="transformer", decoder_conf={**DECODER, **dropout})
    config.update(model_conf={"ctc_weight": 0.5})
    save(directory, "config.yaml", "valid.loss.ave.pth", config, ASRTask)
    for name, conf in LM.items():
        lm_config = LMTask.get_default_config()
        lm_config.update(token_list=config["token_list"], lm=name, lm_conf=conf, init=None)
        save(directory, f"{name}.yaml", f"{name}.pth", lm_config, LMTask)
    return directory


def save(directory: File, config_name: str, name: str, config: Dict[str, Any], task: Any) -> None:
    (directory / config_name).write_text(yaml.safe_dump(config), encoding="utf-8")
    torch.manual_seed(1)
    model = task.build_model(argparse.Namespace(**config))
    with torch.no_grad():  # far from uniform, so that scores differ
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
        if hasattr(model, "ctc"):
            model.ctc.ctc_lo.weight.mul_(3.0)
    torch.save(model.state_dict(), directory / name)


def load(directory: File, lm: str = "transformer") -> Tuple[Any, Any]:
    from espnet2.tasks.lm import LMTask

    from espnet_plugin.stacks.experiment import load_experiment

    model = load_experiment(directory, device="cpu").model
    nnlm, _ = LMTask.build_model_from_file(directory / f"{lm}.yaml", directory / f"{lm}.pth")
    return model.eval(), nnlm.eval()


def path(*tokens: int) -> Path:
    return Path(tokens, tokens, -1.0, 0.0, 0.0, {"other": 7.0})


NBEST = [
    [path(5, 6, 7, 8, 9), path(5), path(), path(5, 6, 7, 8, 9, 10, 11)],
    [],
    [path(30, 31), path(), path(5)],
]
LENGTHS = torch.tensor([9, 12, 4])


def hidden() -> torch.Tensor:
    return torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(3))


def steps(scorer: Any, tokens: Tuple[int, ...], eos: int, encoded: torch.Tensor) -> float:
    """One token at a time, as ESPnet's beam search asks a scorer."""
    total, state = 0.0, scorer.init_state(encoded)
    prefix = [eos]
    for token in (*tokens, eos):
        logp, state = scorer.score(torch.tensor(prefix), state, encoded)
        total += float(logp[token])
        prefix.append(token)
    return total


@torch.no_grad()
@pytest.mark.parametrize("lm", list(LM))
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_scores_are_those_of_the_beam_search(experiment: File, lm: str, batch_size: int) -> None:
    model, nnlm = load(experiment, lm)
    encoded = hidden()
    rescored = attention_rescoring(NBEST, model, encoded, LENGTHS, nnlm, batch_size)
    assert [len(paths) for paths in rescored] == [4, 0, 3]
    for i, paths in enumerate(rescored):
        for before, after in zip(NBEST[i], paths, strict=True):
            own = encoded[i, : LENGTHS[i]]
            attention = steps(model.decoder, before.tokens, model.eos, own)
            language = steps(nnlm.lm, before.tokens, model.eos, own)
            assert set(after.extra) == {"other", "attention", "nnlm"}
            assert after.extra["attention"] == pytest.approx(attention, abs=1e-3)
            assert after.extra["nnlm"] == pytest.approx(language, abs=1e-3)
            assert (after.labels, after.am_score) == (before.labels, before.am_score)
    assert NBEST[0][0].extra == {"other": 7.0}


def test_without_language_model_and_with_nothing(experiment: File) -> None:
    model, _ = load(experiment)
    rescored = attention_rescoring(NBEST, model, hidden(), LENGTHS)
    assert all(set(p.extra) == {"other", "attention"} for paths in rescored for p in paths)
    scores = [p.extra["attention"] for p in rescored[2]]
    (_, _, best) = rank(rescored, Scales(attention=1.0))
    assert best[0].extra["attention"] == max(scores) and len(set(scores)) == 3
    assert attention_rescoring([[], [], []], model, hidden(), LENGTHS) == [[], [], []]
    assert attention_scores([[path()]], model, hidden()[:1, :1], torch.tensor([1]))[0][0] < 0


def test_errors(experiment: File, tiny_experiment: File) -> None:
    from espnet_plugin.stacks.experiment import load_experiment

    without = load_experiment(tiny_experiment, device="cpu").model
    with pytest.raises(ValueError, match="no attention decoder"):
        attention_rescoring(NBEST, without, hidden(), LENGTHS)
    with pytest.raises(ValueError, match="batch size"):
        attention_rescoring(NBEST, load(experiment)[0], hidden(), LENGTHS, batch_size=0)


@pytest.mark.parametrize(
    "weights",
    [
        {"am_weight": 1.0, "decoder_weight": 0.5, "nnlm_weight": 1.0},
        {"am_weight": 0.25, "decoder_weight": 2.0, "nnlm_weight": 0.5, "lattice_weight": 0.5},
    ],
)
def test_equals_espnets_own_decoder(experiment: File, weights: Dict[str, float]) -> None:
    """The same hypotheses and scores as its asr_inference_k2 with use_nbest_rescoring."""
    pytest.importorskip("k2", reason="k2 is not installed for this torch")
    from espnet2.bin.asr_inference_k2 import k2Speech2Text

    from espnet_plugin.decode import Beams, ctc_posteriors, ctc_topology, find_lattices
    from espnet_plugin.decode.rescore.nbest import sampled_paths
    from espnet_plugin.decode.scales import set_scores

    generator = np.random.default_rng(5)
    sizes = [16000, 12000, 6000]
    speech = torch.zeros(3, max(sizes))
    for row, size in enumerate(sizes):
        speech[row, :size] = torch.from_numpy(generator.normal(0, 0.1, size).astype(np.float32))
    theirs = k2Speech2Text(
        asr_train_config=str(experiment / "config.yaml"),
        asr_model_file=str(experiment / "valid.loss.ave.pth"),
        lm_train_config=str(experiment / "transformer.yaml"),
        lm_file=str(experiment / "transformer.pth"),
        use_nbest_rescoring=True,
        num_paths=100,
        nll_batch_size=7,
        output_beam_size=8,
        **weights,
    )
    theirs.lm.eval()
    expected = theirs({"speech": speech, "speech_lengths": torch.tensor(sizes)})

    model, nnlm = load(experiment)
    lengths = torch.tensor(sizes)
    with torch.no_grad():
        encoded, frames = model.encode(speech, lengths)
    log_probs, _ = ctc_posteriors(model, speech, lengths)
    found = find_lattices(
        ctc_topology(log_probs.shape[2]), log_probs, frames, Beams(output_beam=8.0)
    )
    share = weights.get("lattice_weight", 1.0)
    lattice = set_scores(found.fsa, Scales(acoustic=share))
    nbest = sampled_paths(lattice, 100, nbest_scale=1.0)
    assert max(len(paths) for paths in nbest) > 5
    rows = found.utterances
    scales = Scales(
        acoustic=weights["am_weight"] * share,
        attention=weights["decoder_weight"],
        nnlm=weights["nnlm_weight"],
    )
    rescored = attention_rescoring(nbest, model, encoded[rows], frames[rows], nnlm, 7)
    results: List[Tuple[List[int], float]] = [([], 0.0)] * 3
    for row, paths in zip(rows, rank(rescored, scales), strict=True):
        results[row] = (list(paths[0].tokens), paths[0].score(scales))
    for (tokens, score), (_, _, token_int, their_score) in zip(results, expected, strict=True):
        assert tokens == token_int
        assert score == pytest.approx(their_score, abs=2e-3)
