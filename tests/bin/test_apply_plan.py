"""The command that edits a stack."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from espnet_plugin.bin import apply_plan as command
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan

PLAN = """
stack: {family: wav2vec2, blocks: 4}
actions:
  - {block: 1, do: drop}
  - {block: 2, do: prune_heads, heads: [0]}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    stack = Wav2Vec2Stack(
        Wav2Vec2Config(
            family="wav2vec2", conv_layers=((8, 10, 5), (8, 8, 4)), width=16, blocks=4, heads=2,
            feed_forward=20, pos_kernel=4, pos_groups=2,
        )
    )  # fmt: skip
    stack.save(tmp_path / "model.pt")
    return tmp_path / "model.pt"


def run(model: Path, plan: str, out: Path) -> None:
    (out.parent / "plan.yaml").write_text(plan)
    command.main(
        ["--model", str(model), "--plan", str(out.parent / "plan.yaml"), "--out", str(out)]
    )


def test_the_file_is_the_edited_stack(model: Path, tmp_path: Path, capsys) -> None:
    run(model, PLAN, tmp_path / "edited.pt")
    expected = apply_plan(load_stack(model), BlockPlan.parse(PLAN))
    found = load_stack(tmp_path / "edited.pt")
    speech = torch.randn(2, 800)
    assert torch.equal(found.output(speech)[0], expected.output(speech)[0])
    assert found.plan == expected.plan and found.block_numbers == (0, 2, 3)
    table = capsys.readouterr().out
    count = sum(p.numel() for p in found.parameters()) / 1e6
    assert "| blocks | 4 | 3 |" in table and f"| {count:.3f} |" in table


@pytest.mark.parametrize(
    "plan, message",
    [
        (PLAN.replace("blocks: 4", "blocks: 5"), r"plan\.yaml: the plan is for 5 blocks"),
        (PLAN.replace("[0]", "[7]"), r"plan\.yaml:5: head 7 is not there"),
        (PLAN.replace("wav2vec2", "hubert"), r"plan\.yaml: the plan is for a hubert stack"),
    ],
)
def test_a_plan_that_does_not_fit_is_one_line(model, tmp_path, plan, message) -> None:
    with pytest.raises(SystemExit, match="apply_plan: .*" + message):
        run(model, plan, tmp_path / "edited.pt")
    assert not (tmp_path / "edited.pt").exists()


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("hello")
    with pytest.raises(SystemExit, match=r"apply_plan: .*model\.pt"):
        run(tmp_path / "model.pt", PLAN, tmp_path / "edited.pt")
