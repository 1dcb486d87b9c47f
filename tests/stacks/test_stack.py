"""What every stack does: hidden states, maps by place, layer drop, files, parameters."""

from __future__ import annotations

import copy
import gc
import io
import weakref

import pytest
import torch
from torch import nn

from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.parameters import fill, keep_inputs, keep_outputs
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

CONFIG = Wav2Vec2Config(
    conv_layers=((8, 10, 5), (8, 3, 2)),
    width=16,
    blocks=4,
    heads=2,
    feed_forward=24,
    pos_kernel=4,
    pos_groups=2,
    input_dropout=0.0,
    dropout=0.0,
    attention_dropout=0.0,
    layer_drop=0.0,
)
NORM_FIRST = Wav2Vec2Config(**{**CONFIG.to_dict(), "norm_first": True, "family": "hubert"})


def make(config=CONFIG):
    torch.manual_seed(0)
    return Wav2Vec2Stack(config).eval()


def speech():
    x = torch.randn(2, 400, generator=torch.Generator().manual_seed(1))
    x[1, 250:] = 0
    return x, torch.tensor([400, 250])


@pytest.mark.parametrize("config", [CONFIG, NORM_FIRST], ids=["base", "norm_first"])
def test_the_first_layers_alone(config):
    stack = make(config)
    with torch.no_grad():
        hidden, lengths = stack(*speech())
        for layers in range(5):
            some, valid = stack(*speech(), layers=layers)
            assert len(some) == layers + 1 and torch.equal(valid, lengths)
            for place in range(min(layers, 3) + 1):
                assert torch.equal(some[place], hidden[place])
        last = stack(*speech(), layers=4)[0][-1]
        finished = stack.norm(last) if config.norm_first else last
        for u, n in enumerate(lengths.tolist()):
            assert torch.equal(finished[u, :n], hidden[-1][u, :n])
    for layers in (-1, 5):
        with pytest.raises(ValueError, match="layers must be from 0 to 4"):
            stack(*speech(), layers=layers)


def test_no_blocks_at_all():
    stack = make()
    stack.blocks = nn.ModuleList()
    with torch.no_grad():
        hidden, _ = stack(*speech())
        assert len(hidden) == 1 and torch.equal(hidden[0], stack.output(*speech())[0])


def test_maps_come_by_place_also_of_a_shared_block():
    stack = make()
    stack.blocks[2] = stack.blocks[0]
    seen = []
    with torch.no_grad(), attention_maps(stack, lambda *args: seen.append(args)):
        stack(*speech())
    assert [place for place, _, _ in seen] == [0, 1, 2, 3]
    assert not torch.equal(seen[0][1], seen[2][1])
    for _, maps, lengths in seen:
        assert lengths.dtype == torch.int64 and lengths.device.type == "cpu"
        for u, n in enumerate(lengths.tolist()):
            assert torch.allclose(maps[u, :, :n, :n].sum(-1), torch.ones(2, n), atol=1e-5)


def test_maps_are_made_only_while_somebody_asks(monkeypatch):
    from espnet_plugin.stacks.wav2vec2 import attention

    made = []
    real = attention.attention_map
    monkeypatch.setattr(
        attention, "attention_map", lambda *args: made.append(weakref.ref(m := real(*args))) or m
    )
    stack = make()
    with torch.no_grad():
        stack(*speech())
        assert not made
        with attention_maps(stack, lambda *args: None):
            stack(*speech())
    gc.collect()
    assert len(made) == 4 and all(ref() is None for ref in made)
    assert stack.map_hook is None
    with pytest.raises(RuntimeError, match="stop"), attention_maps(stack, _fail):
        stack(*speech())
    assert stack.map_hook is None


def _fail(*args):
    raise RuntimeError("stop")


def test_a_leader_keeps_its_map_for_followers_alone():
    stack = make()
    for place in (1, 2):
        stack.blocks[place].attention = stack.blocks[place].attention.follower()
    kept = []
    for block in stack.blocks:
        block.register_forward_hook(lambda b, args, out: kept.append(out.maps))
    with torch.no_grad():
        stack(*speech())
    assert kept[0] is not None and kept[1] is kept[0] and kept[2] is None and kept[3] is None


def test_layer_drop_skips_blocks_and_keeps_the_leaders_map():
    stack = make()
    stack.blocks[1].attention = stack.blocks[1].attention.follower()
    stack.blocks[0].layer_drop = stack.blocks[3].layer_drop = 1.0
    with torch.no_grad():
        whole, _ = stack(*speech())
        hidden, _ = stack.train()(*speech())
        assert torch.equal(hidden[1], hidden[0]) and torch.equal(hidden[4], hidden[3])
        assert not torch.equal(hidden[2], hidden[1])
        stack.blocks[0].layer_drop = 0.0
        again, _ = stack(*speech())
        assert torch.allclose(again[3], whole[3], atol=1e-5)  # no dropout: as in evaluation
        assert torch.equal(again[4], again[3])
    stack.blocks[3].layer_drop = 0.5
    torch.manual_seed(0)
    skipped = 0
    for _ in range(60):
        hidden, _ = stack(*speech())
        skipped += torch.equal(hidden[4], hidden[3])
    assert 15 <= skipped <= 45


def test_gradients_reach_everything():
    stack = make(NORM_FIRST).train()
    stack.output(*speech())[0].pow(3).sum().backward()
    without = {name for name, p in stack.named_parameters() if p.grad is None}
    assert without == {"frontend.mask_embedding"}


@pytest.mark.parametrize("config", [CONFIG, NORM_FIRST], ids=["base", "norm_first"])
def test_saved_and_loaded(tmp_path, config):
    stack = make(config)
    stack.save(tmp_path / "stack.pt")
    torch.load(tmp_path / "stack.pt", weights_only=True)
    read = Stack.load(tmp_path / "stack.pt")
    assert isinstance(read, Wav2Vec2Stack) and read.config == config and not read.training
    assert read.family == config.family and read.width == 16 and read.takes == "waveform"
    assert read.frame_shift == 10 / 16000 and read.block_numbers == (0, 1, 2, 3)
    with torch.no_grad():
        for ours, theirs in zip(read(*speech())[0], stack(*speech())[0], strict=True):
            assert torch.equal(ours, theirs)


def test_files_that_are_no_stacks(tmp_path):
    path = tmp_path / "stack.pt"
    with pytest.raises(StackError, match=r"stack\.pt: not there"):
        Stack.load(path)
    torch.save({"format": "another"}, path)
    with pytest.raises(StackError, match=r"stack\.pt: .*its format is not"):
        Stack.load(path)
    make().save(path)
    content = torch.load(path)
    del content["tensors"]["norm.weight"]
    torch.save(content, path)
    with pytest.raises(StackError, match=r"stack\.pt: .*norm\.weight is missing"):
        Stack.load(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StackError, match=r"stack\.pt: .*") as error:
        Stack.load(path)
    assert "\n" not in str(error.value)


def test_fill_takes_the_very_tensors():
    tensors = {name: tensor.clone() for name, tensor in make().state_dict().items()}
    stack = Wav2Vec2Stack(CONFIG, "meta")
    stack.norm.weight.requires_grad_(False)
    fill(stack, tensors)
    for name, parameter in stack.named_parameters():
        assert parameter.data_ptr() == tensors[name].data_ptr()
        assert parameter.requires_grad == (name != "norm.weight")
    half = {name: tensor.half() for name, tensor in tensors.items()}
    fill(stack, half)
    assert all(p.dtype == torch.float32 for p in stack.parameters())
    norm = nn.BatchNorm1d(3)
    fill(norm, {**norm.state_dict(), "running_mean": torch.ones(3)})
    assert norm.running_mean.tolist() == [1, 1, 1] and "running_mean" not in dict(
        norm.named_parameters()
    )


def test_fill_wants_what_fits():
    linear = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="^bias is missing$"):
        fill(linear, {"weight": torch.zeros(3, 2)})
    with pytest.raises(ValueError, match="^scale has no place$"):
        fill(linear, {**linear.state_dict(), "scale": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"^weight is missing \(and 2 more do not fit\)$"):
        fill(linear, {"a": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"^weight is \[2, 3\], not \[3, 2\]$"):
        fill(linear, {"weight": torch.zeros(2, 3), "bias": torch.zeros(3)})


def test_cut_layers_have_parameters_of_their_own():
    linear = nn.Linear(4, 3)
    before = copy.deepcopy(linear.state_dict())
    x = torch.randn(5, 4)
    fewer_out, fewer_in = keep_outputs(linear, [2, 0]), keep_inputs(linear, [1, 3])
    assert torch.allclose(fewer_out(x), linear(x)[:, [2, 0]], atol=1e-6)
    wanted = x[:, [1, 3]] @ linear.weight[:, [1, 3]].T + linear.bias
    assert torch.allclose(fewer_in(x[:, [1, 3]]), wanted, atol=1e-6)
    assert (fewer_out.in_features, fewer_out.out_features) == (4, 2)
    assert (fewer_in.in_features, fewer_in.out_features) == (2, 3)
    assert not {id(p) for p in linear.parameters()} & {
        id(p) for layer in (fewer_out, fewer_in) for p in layer.parameters()
    }
    stored = io.BytesIO()
    torch.save(keep_outputs(nn.Linear(500, 500), [3]).weight, stored)
    assert stored.tell() < 10_000
    assert all(torch.equal(v, before[k]) for k, v in linear.state_dict().items())
