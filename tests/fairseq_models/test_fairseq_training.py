"""fairseq's own training of the filtered models, on real speech, and load_stack on the result."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy
import pytest
import soundfile
import torch

pytest.importorskip("fairseq", reason="fairseq is not installed: its training does not run")

from fairseq import checkpoint_utils, utils

from espnet_plugin.fairseq_models import USER_DIR
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.mimic import MimicBlock
from espnet_plugin.surgery.plan import BlockPlan

utils.import_user_module(type("Common", (), {"user_dir": str(USER_DIR)}))

CONF = Path(__file__).resolve().parents[2] / "conf" / "fairseq"
SMALL = [
    "+model.conv_feature_layers='[(16,10,5),(16,8,4),(16,4,4),(16,4,4)]'",
    "+model.encoder_layers=5",
    "model.encoder_embed_dim=32",
    "+model.encoder_ffn_embed_dim=64",
    "+model.encoder_attention_heads=4",
    "+model.conv_pos=16",
    "+model.conv_pos_groups=4",
    "model.final_dim=16",
    "+model.latent_vars=16",
    "model.encoder_layerdrop=0.0",
]
PLAN = """
stack: {family: wav2vec2, blocks: 5}
actions:
  - {block: 1, do: drop}
  - {block: 2, do: local_attention, window: 8}
  - {block: 4, do: share, source: 3}
"""
AGAIN = """
stack: {family: wav2vec2, blocks: 4}
actions:
  - {block: 1, do: reuse_attention, leader: 0}
  - {block: 2, do: prune_heads, heads: [0, 3]}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory, librispeech_root: Path) -> Path:
    """A directory as fairseq's tasks read it: 24 utterances of some 4 to 12 s."""
    folder = tmp_path_factory.mktemp("data")
    chosen: List[Tuple[Path, int, str]] = []
    for transcripts in sorted(librispeech_root.glob("train-clean-100/*/*/*.trans.txt")):
        for line in transcripts.read_text().splitlines():
            name, words = line.split(maxsplit=1)
            path = transcripts.with_name(f"{name}.flac")
            frames = soundfile.info(str(path)).frames
            if 16000 * 4 < frames < 16000 * 12:
                chosen.append((path.relative_to(librispeech_root), frames, words))
        if len(chosen) >= 24:
            break
    letters = [" ".join(words.replace(" ", "|")) + " |" for _, _, words in chosen[:24]]
    rows = [f"{path}\t{frames}" for path, frames, _ in chosen[:24]]
    for split, part in (("train", slice(0, 20)), ("valid", slice(20, 24))):
        (folder / f"{split}.tsv").write_text("\n".join([str(librispeech_root), *rows[part]]) + "\n")
        (folder / f"{split}.ltr").write_text("\n".join(letters[part]) + "\n")
    symbols = sorted(set("".join(letters)) - {" "})
    (folder / "dict.ltr.txt").write_text("".join(f"{symbol} 1\n" for symbol in symbols))
    (folder / "plan.yaml").write_text(PLAN)
    (folder / "again.yaml").write_text(AGAIN)
    return folder


def train(conf: str, data: Path, folder: Path, updates: int, *options: str) -> List[float]:
    """Run ``fairseq-hydra-train`` for so many updates; the loss of each."""
    command = [
        str(Path(sys.executable).with_name("fairseq-hydra-train")),
        *("--config-dir", str(CONF), "--config-name", conf),
        *(f"task.data={data}", f"common.user_dir={USER_DIR}", "common.cpu=true"),
        *("common.fp16=false", "common.log_interval=1", "common.seed=1", "dataset.num_workers=0"),
        *("distributed_training.distributed_world_size=1", f"optimization.max_update={updates}"),
        *("checkpoint.save_dir=checkpoints", f"hydra.run.dir={folder}"),
        *("dataset.max_tokens=600000", "checkpoint.no_epoch_checkpoints=true", *options),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(CONF.parents[1])
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=data)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    lines = re.findall(r"\[train_inner\]\[INFO\] - (\{.*\})", said)
    return [float(json.loads(line)["loss"]) for line in lines]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, data: Path) -> Tuple[Path, List[float]]:
    folder = tmp_path_factory.mktemp("pretraining")
    losses = train(
        *("filtered_wav2vec2_base_librispeech", data, folder, 12, *SMALL),
        *(f"model.plan={data / 'plan.yaml'}", "optimization.lr=[0.005]"),
        *("lr_scheduler.warmup_updates=3", "task.max_sample_size=64000"),
    )
    return folder / "checkpoints" / "checkpoint_last.pt", losses


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, data: Path, pretrained) -> Tuple[Path, List[float]]:
    folder = tmp_path_factory.mktemp("tuning")
    losses = train(
        *("filtered_base_100h", data, folder, 12, f"model.w2v_path={pretrained[0]}"),
        *(f"model.plan={data / 'again.yaml'}", "optimization.lr=[0.02]"),
        *("optimization.update_freq=[1]", "dataset.valid_subset=valid", "model.layerdrop=0.0"),
        "model.mask_channel_length=4",
    )
    return folder / "checkpoints" / "checkpoint_last.pt", losses


def original(path: Path) -> Any:
    """The encoder of a checkpoint as fairseq itself loads it."""
    models, _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    model = models[0].eval()
    return model.w2v_encoder.w2v_model if hasattr(model, "w2v_encoder") else model


def assert_equal(path: Path, data: Path) -> Any:
    """load_stack's hidden states of two utterances, padded, are fairseq's, place by place."""
    stack, model = load_stack(path), original(path)
    root, *rows = (data / "valid.tsv").read_text().splitlines()
    speech = [soundfile.read(f"{root}/{r.split()[0]}", dtype="float32")[0] for r in rows[:2]]
    lengths = torch.tensor([len(s) for s in speech])
    batch = torch.zeros(2, int(lengths.max()))
    for row, samples in zip(batch, speech, strict=True):
        row[: len(samples)] = torch.from_numpy(samples)
    padded = torch.arange(batch.size(1)) >= lengths[:, None]
    with torch.no_grad():
        result = model.extract_features(batch, padded, mask=False)
        hidden, frames = stack(batch, lengths)
    assert frames.tolist() == (~result["padding_mask"]).sum(1).tolist()
    places = [layer[0].transpose(0, 1) for layer in result["layer_results"]]
    assert len(places) == len(hidden) - 1 == len(stack.blocks)
    for ours, theirs in zip(hidden[1:], [*places[:-1], result["x"]], strict=True):
        for utterance, count in enumerate(frames):
            torch.testing.assert_close(
                ours[utterance, :count], theirs[utterance, :count], rtol=0, atol=1e-4
            )
    assert hidden[-1].std() > 0.1
    return stack


def fell(losses: Sequence[float]) -> bool:
    return len(losses) >= 10 and numpy.mean(losses[-3:]) < 0.97 * numpy.mean(losses[:3])


def test_pretraining_learns_and_loads(pretrained, data) -> None:
    path, losses = pretrained
    assert fell(losses), losses
    stack = assert_equal(path, data)
    assert stack.family == "wav2vec2" and stack.block_numbers == (0, 2, 3, 4)
    assert stack.windows == (None, 8, None, None) and stack.blocks[2] is stack.blocks[3]
    assert stack.plans == (BlockPlan.parse(PLAN),)


def test_tuning_edits_again_learns_and_loads(tuned, pretrained, data) -> None:
    path, losses = tuned
    assert fell(losses), losses
    pretrained[0].rename(pretrained[0].with_name("away.pt"))
    try:
        stack = assert_equal(path, data)
    finally:
        pretrained[0].with_name("away.pt").rename(pretrained[0])
    assert stack.plans == (BlockPlan.parse(PLAN), BlockPlan.parse(AGAIN))
    assert stack.blocks[1].attention.follows and stack.blocks[2].attention.heads == 2


def build(**options: Any) -> Any:
    """A model as fairseq's task builds it."""
    from fairseq import tasks
    from fairseq.dataclass.configs import FairseqConfig
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(OmegaConf.structured(FairseqConfig), enum_to_str=True)
    cfg = OmegaConf.create(plain)
    sizes: Dict[str, Any] = dict(
        conv_feature_layers="[(16,10,5),(16,8,4)]", encoder_layers=3, encoder_embed_dim=16,
        encoder_ffn_embed_dim=24, encoder_attention_heads=2, conv_pos=6, conv_pos_groups=2,
    )  # fmt: skip
    cfg.model = {"_name": "filtered_wav2vec2", **sizes, **options}
    cfg.task = {"_name": "audio_pretraining", "data": "."}
    torch.manual_seed(0)
    return tasks.setup_task(cfg.task).build_model(cfg.model), cfg


def test_without_edits_it_is_fairseqs_model() -> None:
    filtered, _ = build()
    original, _ = build(_name="wav2vec2")
    speech = torch.randn(2, 4000)
    padded = torch.arange(4000) >= torch.tensor([4000, 2500])[:, None]
    with torch.no_grad():
        ours, theirs = (m.eval().extract_features(speech, padded) for m in (filtered, original))
        third = filtered.extract_features(speech, padded, layer=1)["x"]
        its = original.extract_features(speech, padded, layer=1)["x"]
    valid = ~theirs["padding_mask"]
    assert torch.equal(ours["padding_mask"], theirs["padding_mask"])
    torch.testing.assert_close(ours["x"][valid], theirs["x"][valid], rtol=0, atol=1e-5)
    torch.testing.assert_close(third[valid], its[valid], rtol=0, atol=1e-5)


def test_gradients_are_right_on_the_cpu() -> None:
    gradients = []
    speech = torch.randn(2, 4000, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        model, _ = build(abnormal_blocks=[1], conv_feature_layers="[(16,10,5),(16,8,4),(24,3,2)]")
        model = model.to(dtype).eval()
        model.extract_features(speech.to(dtype), None)["x"].pow(3).sum().backward()
        layers = model.feature_extractor.conv_layers
        gradients.append([layer[0].weight.grad.double() for layer in layers])
    for single, double in zip(*gradients, strict=True):
        assert (single - double).norm() < 1e-3 * double.norm()


@pytest.mark.parametrize(
    "strategy, windows, count",
    [("drop", (None, None), 2), ("local", (None, 4, None), 3), ("share", (None,) * 3, 2)],
)
def test_abnormal_blocks_in_three_ways(strategy, windows, count) -> None:
    model, cfg = build(abnormal_blocks=[1], strategy=strategy, window=4)
    stack = model.encoder.stack
    assert stack.windows == windows and len({id(block) for block in stack.blocks}) == count
    assert BlockPlan.parse(cfg.model.plan_text) == stack.plan


def test_a_mimic_and_options_that_contradict(tmp_path) -> None:
    (tmp_path / "plan.yaml").write_text(
        "stack: {family: wav2vec2, blocks: 3}\n"
        "actions: [{blocks: [0, 2], do: mimic, hidden: 8, layers: 1}]\n"
    )
    model, _ = build(plan=str(tmp_path / "plan.yaml"))
    assert isinstance(model.encoder.stack.blocks[0], MimicBlock)
    assert model.extract_features(torch.randn(1, 4000), None)["x"].shape[2] == 16
    with pytest.raises(ValueError, match="give plan or abnormal_blocks, not both"):
        build(plan=str(tmp_path / "plan.yaml"), abnormal_blocks=[1])
    with pytest.raises(ValueError, match="checkpoint_activations"):
        build(checkpoint_activations=True)


def test_a_plan_that_does_not_fit_the_checkpoint(pretrained, tmp_path) -> None:
    content = torch.load(pretrained[0])
    assert Drop(1) in BlockPlan.parse(content["cfg"]["model"]["plan_text"]).actions
    content["cfg"]["model"]["plan_text"] = PLAN.replace("blocks: 5", "blocks: 6")
    torch.save(content, tmp_path / "wrong.pt")
    with pytest.raises(StackError, match=r"wrong\.pt: block plan: the plan is for 6 blocks"):
        load_stack(tmp_path / "wrong.pt")
