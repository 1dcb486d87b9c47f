"""Checkpoints that real fairseq writes load without it, and compute the same."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, List

import pytest
import torch
from speech_batches import distance, normalized, padded_batch

from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.load import load_stack

files = pytest.importorskip("fairseq_checkpoints", reason="fairseq is not installed")

CASES = [(family, layout) for family in ("wav2vec2", "hubert") for layout in ("base", "large")]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """(family, layout) -> a checkpoint of pre-training."""
    folder = tmp_path_factory.mktemp("fairseq")
    return {case: files.train(folder, *case) for case in CASES}


@pytest.fixture(scope="module")
def tuned(pretrained):
    """(family, layout) -> a checkpoint of CTC fine-tuning, its configuration inside."""
    paths = {case: files.tune(path, *case) for case, path in pretrained.items()}
    for case, path in paths.items():
        if case[0] == "hubert":
            paths[case] = files.embedded(path, path.with_name(f"embedded_{path.name}"))
    return paths


def assert_equal(path: Any, family: str, layout: str) -> None:
    """Hidden states before, between and after the blocks, and lengths, equal fairseq's."""
    stack, model = load_stack(path), files.original(path)
    assert stack.family == family and len(stack.blocks) == 3 and not stack.training
    waveforms, lengths, padded = padded_batch()
    source = normalized(waveforms, lengths) if layout == "large" else waveforms
    states: List[torch.Tensor] = []
    layers = model.encoder.layers
    layers[0].register_forward_pre_hook(lambda module, args: states.append(args[0]))
    for layer in layers:
        layer.register_forward_hook(lambda module, args, result: states.append(result[0]))
    with torch.no_grad():
        result = model.extract_features(source, padded, mask=False)
        hidden, frames = stack(waveforms, lengths)
    last, padding = (
        (result["x"], result["padding_mask"]) if isinstance(result, dict) else result[:2]
    )
    assert frames.tolist() == (~padding).sum(1).tolist()
    theirs = [x.transpose(0, 1)[:, : last.size(1)] for x in states[:-1]]
    assert distance(hidden, [*theirs, last], frames) < 1e-4


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_pretrained(pretrained, case):
    assert_equal(pretrained[case], *case)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_tuned_with_ctc(tuned, case):
    assert_equal(tuned[case], *case)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_old_form_with_args(pretrained, tuned, tmp_path, case):
    assert_equal(files.old_form(pretrained[case], tmp_path / "old.pt"), *case)
    assert_equal(files.old_form(tuned[case], tmp_path / "old_ctc.pt"), *case)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_configuration_in_omegaconf_containers(pretrained, tuned, tmp_path, case):
    assert_equal(files.with_omegaconf(pretrained[case], tmp_path / "new.pt"), *case)
    assert_equal(files.with_omegaconf(tuned[case], tmp_path / "new_ctc.pt"), *case)


def test_tuned_hubert_without_its_configuration(pretrained, tmp_path):
    """fairseq 0.12.2 leaves it out and reads the pre-trained file again; so do we."""
    case = ("hubert", "base")
    path = files.tune(pretrained[case], *case)
    assert_equal(path, *case)
    content = torch.load(path)
    content["cfg"]["model"]["w2v_path"] = "elsewhere/hubert_base.pt"
    torch.save(content, tmp_path / "moved.pt")
    with pytest.raises(StackError, match=r"moved\.pt: .*put hubert_base\.pt beside it"):
        load_stack(tmp_path / "moved.pt")
    (tmp_path / "hubert_base.pt").write_bytes(pretrained[case].read_bytes())
    assert load_stack(tmp_path / "moved.pt").family == "hubert"


def test_features_as_wide_as_the_blocks_have_no_projection(tmp_path, monkeypatch):
    monkeypatch.setitem(files.SIZES, "encoder_embed_dim", 16)
    path = files.train(tmp_path, "wav2vec2", "base")
    assert "post_extract_proj.weight" not in torch.load(path)["model"]
    assert_equal(path, "wav2vec2", "base")


def test_attention_maps(pretrained):
    path = pretrained["wav2vec2", "base"]
    stack, model = load_stack(path), files.original(path)
    waveforms, _, _ = padded_batch()
    maps, theirs = [], []

    def explicit(module, args):
        x = args[0]
        theirs.append(module.self_attn(x, x, x)[1])  # the mean over heads

    for layer in model.encoder.layers:
        layer.register_forward_pre_hook(explicit)
    with torch.no_grad(), attention_maps(stack, lambda block, a, lengths: maps.append(a)):
        stack(waveforms)
        model.encoder.required_seq_len_multiple = 1  # else an odd number of frames is padded
        model.extract_features(waveforms, None, mask=False)
    for ours, other in zip(maps, theirs, strict=True):
        assert (ours.mean(1) - other).abs().max() < 1e-4


def test_half_precision_becomes_float32(pretrained, tmp_path):
    content = torch.load(pretrained["wav2vec2", "base"])
    content["model"] = {name: value.half() for name, value in content["model"].items()}
    torch.save(content, tmp_path / "half.pt")
    stack = load_stack(tmp_path / "half.pt")
    assert {p.dtype for p in stack.parameters()} == {torch.float32}
    name = "encoder.layers.1.fc1.weight"
    assert torch.equal(stack.blocks[1].feed_forward.expand.weight, content["model"][name].float())


def test_dropout_rates_are_those_of_the_file(pretrained, tuned):
    config = load_stack(pretrained["wav2vec2", "base"]).config
    assert (config.dropout, config.attention_dropout, config.layer_drop) == (0.1, 0.1, 0.05)
    assert load_stack(tuned["wav2vec2", "base"]).config.layer_drop == 0.1


def test_neither_fairseq_nor_omegaconf_is_imported(tuned, tmp_path):
    path = files.with_omegaconf(tuned["wav2vec2", "large"], tmp_path / "new.pt")
    code = (
        "import sys\nfrom espnet_plugin.stacks.files.recognise import *\n"
        "from espnet_plugin.stacks.files.build import build_stack\nfrom pathlib import Path\n"
        f"path = Path({str(path)!r})\ncontent = read_content(path)\n"
        "build_stack(*read_model(path, kind_of_content(content), content))\n"
        "print([m for m in ('fairseq', 'omegaconf', 'transformers') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("encoder_layers", 4, "3 blocks, and its configuration 4"),
        ("encoder_embed_dim", 48, r"is \[24\], and by its configuration \[48\]"),
        ("encoder_attention_heads", 5, "width 24 is no multiple of heads"),
        ("encoder_attention_heads", "4", "encoder_attention_heads: '4'"),
        ("layer_type", "conformer", "only 'transformer' can be loaded"),
        ("activation_fn", "relu", "only 'gelu' can be loaded"),
        ("extractor_mode", "none", "extractor_mode: 'none'"),
        ("conv_feature_layers", "__import__('os').system('x')", "no convolutions"),
        ("_name", "transformer_lm", "named 'transformer_lm'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(pretrained, tmp_path, key, value, said):
    content = torch.load(pretrained["wav2vec2", "base"])
    content["cfg"]["model"][key] = value
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(StackError, match=rf"bad\.pt: .*{said}") as caught:
        load_stack(tmp_path / "bad.pt")
    assert "\n" not in str(caught.value)


def test_tensors_that_are_missing_or_of_another_shape(pretrained, tmp_path):
    for name, value, said in (
        ("encoder.layers.1.fc1.weight", None, "no blocks.1.feed_forward.expand.weight"),
        ("encoder.layers.1.fc1.weight", torch.zeros(2), r"expand.weight is \[2\]"),
        ("encoder.pos_conv.0.weight_g", torch.zeros(1, 1, 16).long(), "torch.int64"),
        ("feature_extractor.conv_layers.0.0.weight", None, "no encoder"),
        ("feature_extractor.conv_layers.1.0.bias", torch.zeros(16), "which its configuration"),
    ):
        content = torch.load(pretrained["wav2vec2", "base"])
        content["model"].pop(name, None)
        if value is not None:
            content["model"][name] = value
        torch.save(content, tmp_path / "bad.pt")
        with pytest.raises(StackError, match=said):
            load_stack(tmp_path / "bad.pt")
