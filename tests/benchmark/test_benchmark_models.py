"""The models of a benchmark: whatever can be loaded, and what is said where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import write_experiment

from espnet_plugin.benchmark.models import BenchmarkError, open_models
from espnet_plugin.encoders.pruned_stack import PrunedStackEncoder
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.experiment import ExperimentError
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

SMALL = {
    "conv_layers": ((8, 10, 5), (8, 3, 2)), "width": 16, "blocks": 2, "heads": 2,
    "feed_forward": 24, "pos_kernel": 8, "pos_groups": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    Wav2Vec2Stack(Wav2Vec2Config(**SMALL)).save(folder / "small.pt")
    return {"asr": write_experiment(folder / "asr"), "small": folder / "small.pt"}


def test_experiments_and_stacks(paths) -> None:
    asr, small = open_models([str(path) for path in paths.values()])
    assert (asr.name, asr.kind, asr.rate) == ("asr", "experiment", 16000)
    assert asr.files == (paths["asr"] / "valid.loss.ave.pth",)
    assert (small.name, small.kind, small.rate) == ("small", "stack", 16000)
    assert small.file_bytes == paths["small"].stat().st_size
    (named,) = open_models([str(paths["small"])], ["one"])
    assert named.name == "one"


def test_all_shards_of_a_directory_count(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        conv_dim=(8, 8), conv_kernel=(10, 3), conv_stride=(5, 2), num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, num_feat_extract_layers=2,
    )  # fmt: skip
    model = transformers.Wav2Vec2Model(config)
    model.save_pretrained(tmp_path / "hf", max_shard_size=5000, safe_serialization=True)
    (found,) = open_models([str(tmp_path / "hf")])
    shards = sorted((tmp_path / "hf").glob("*.safetensors"))
    assert sorted(found.files) == shards and len(shards) > 1
    assert found.file_bytes == sum(path.stat().st_size for path in shards)


def test_what_cannot_be_compared_is_one_line(paths, tmp_path: Path) -> None:
    both = [str(paths["small"])] * 2
    with pytest.raises(BenchmarkError, match="--name: one name per model is needed, not small, sm"):
        open_models(both)
    with pytest.raises(BenchmarkError, match="--name: one name per model"):
        open_models(both, ["a"])
    with pytest.raises(StackError, match="not there; name a file or a directory"):
        open_models([str(tmp_path / "missing")])
    with pytest.raises(ExperimentError, match="neither config.json nor config.yaml"):
        open_models([str(tmp_path)])
    encoder = PrunedStackEncoder(20, str(paths["asr"]), keep_blocks=[0])
    encoder.stack.save(tmp_path / "features.pt")
    with pytest.raises(StackError, match="features.pt: it takes features, no waveforms; name its"):
        open_models([str(tmp_path / "features.pt")])


def test_parameters_are_read_from_the_named_checkpoint(paths) -> None:
    torch.save(torch.load(paths["asr"] / "valid.loss.ave.pth"), paths["asr"] / "2epoch.pth")
    (found,) = open_models([str(paths["asr"])], checkpoint="2epoch.pth")
    assert found.files == (paths["asr"] / "2epoch.pth",)
