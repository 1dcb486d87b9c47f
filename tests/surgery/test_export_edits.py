"""Every family with every edit as an ONNX graph: equal to the stack for all lengths and batches."""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, Sequence, Tuple

import pytest
import torch
from small_stacks import KINDS, plan_for, small_stack, speech

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnx
import onnxruntime

from espnet_plugin.export import graph
from espnet_plugin.export.compare import compare
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import (
    Action,
    Drop,
    LocalAttention,
    Mimic,
    PruneHeads,
    ReuseAttention,
    Share,
)
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan

EDITS: Dict[str, Tuple[Action, ...]] = {
    "none": (),
    "drop": (Drop(1),),
    "share": (Share(2, 0),),
    "local_attention": (LocalAttention(1, 5),),
    "reuse_attention": (ReuseAttention(2, 1),),
    "prune_heads": (PruneHeads(1, (0, 2)),),
    "prune_all_heads": (PruneHeads(0, (0, 1, 2, 3)), ReuseAttention(1, 0)),
    "mimic": (Mimic((1, 2), 8, 2),),
    "mimic_transformer": (Mimic((0, 2), 8, 1, "transformer"),),
    "together": (LocalAttention(0, 40), ReuseAttention(1, 0), PruneHeads(2, (1,))),
}
CASES = [
    *((kind, edit) for kind in ("wav2vec2", "conformer") for edit in EDITS),
    *((kind, "together") for kind in KINDS if kind not in ("wav2vec2", "conformer")),
    ("wavlm", "local_attention"),
    ("zero_triu", "local_attention"),
]
FRAMES: Sequence[Sequence[int]] = ((1,), (2, 1), (33,), (7, 64, 40))
TRACED = ((0.9, 0.5),)


def edited(kind: str, edit: str) -> Stack:
    stack = small_stack(kind, 3, dtype=torch.float32)
    torch.manual_seed(1)
    return apply_plan(stack, plan_for(stack, *EDITS[edit])) if EDITS[edit] else stack


@pytest.mark.parametrize("kind, edit", CASES)
def test_the_graph_is_the_stack(kind, edit, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(graph, "BATCHES", TRACED)
    stack = edited(kind, edit)
    traced = graph.export_stack(stack, tmp_path / "stack.onnx")
    batches = [speech(stack, frames) for frames in FRAMES]
    found = compare(tmp_path / "stack.onnx", stack, None, batches, "graph")
    assert [one.frames for one in found] == [tuple(frames) for frames in FRAMES]
    assert max(one.largest for one in [*traced, *found]) < 2e-5
    assert min(one.size for one in found) > 0.1


def test_padded_frames_are_zero_and_padding_changes_nothing(tmp_path) -> None:
    stack = edited("conformer", "together")
    graph.export_stack(stack, tmp_path / "stack.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "stack.onnx"))
    inputs, lengths = speech(stack, (60, 37))
    feeds = {"features": inputs.numpy(), "lengths": lengths.numpy()}
    hidden, frames = session.run(["hidden", "frames"], feeds)
    assert frames.tolist() == [60, 37] and not hidden[1, 37:].any() and hidden[1, :37].all()
    wider = torch.nn.functional.pad(inputs, (0, 0, 0, 9)).numpy()
    again, frames = session.run(None, {"features": wider, "lengths": lengths.numpy()})
    assert frames.tolist() == [60, 37] and again.shape == hidden.shape
    torch.testing.assert_close(torch.from_numpy(again), torch.from_numpy(hidden))


def test_the_file_says_what_it_holds_and_holds_nothing_twice(tmp_path) -> None:
    sizes: Dict[str, int] = {}
    for edit in ("none", "drop", "share"):
        stack = edited("wav2vec2", edit)
        graph.export_stack(stack, tmp_path / "stack.onnx")
        model = onnx.load(str(tmp_path / "stack.onnx"))
        sizes[edit] = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
        said = {entry.key: entry.value for entry in model.metadata_props}
        assert said["family"] == "wav2vec2" and float(said["frame_shift"]) == stack.frame_shift
        assert tuple(json.loads(said["blocks"])) == stack.block_numbers
        plans = tuple(BlockPlan.parse(text) for text in json.loads(said["plans"]))
        assert plans == stack.plans
    assert sizes["drop"] == sizes["share"] < sizes["none"]


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch) -> None:
    stack: Any = edited("wav2vec2", "none")
    trace = graph._trace

    def wrongly(encoder: Any, *rest: Any) -> None:
        trace(encoder, *rest)
        with torch.no_grad():
            stack.norm.bias.add_(0.01)

    monkeypatch.setattr(graph, "_trace", wrongly)
    with pytest.raises(
        StackError, match=r"stack\.onnx: the graph differs from the stack by .*on utterances of"
    ):
        graph.export_stack(stack, tmp_path / "stack.onnx")
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"onnxruntime.*pip install 'espnet_plugin\[export\]'"):
        graph.export_stack(edited("wav2vec2", "none"), tmp_path / "stack.onnx")
