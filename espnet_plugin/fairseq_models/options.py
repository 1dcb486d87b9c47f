"""The options of a filtered model, and the plan that they ask for."""

from dataclasses import dataclass, field
from typing import Any, List, Optional

from fairseq.dataclass import ChoiceEnum
from omegaconf import OmegaConf, open_dict

from espnet_plugin.surgery.arms import STRATEGIES, filter_plan
from espnet_plugin.surgery.plan import BlockPlan

FAMILY = "wav2vec2"

StrategyChoices = ChoiceEnum(list(STRATEGIES))


@dataclass
class FilterOptions:
    """Beside the options of fairseq's own model; with none of them the model stays as it is."""

    plan: Optional[str] = field(
        default=None, metadata={"help": "path of a block plan, with any of its actions"}
    )
    abnormal_blocks: Optional[List[int]] = field(
        default=None, metadata={"help": "block numbers, in place of a plan"}
    )
    strategy: StrategyChoices = field(  # type: ignore[valid-type]
        default="drop", metadata={"help": "what is done to abnormal_blocks"}
    )
    window: int = field(
        default=16, metadata={"help": "frames on both sides that strategy local leaves"}
    )
    plan_text: str = field(
        default="",
        metadata={"help": "the plan itself, YAML; training writes it into its checkpoints"},
    )


def obtain_plan(cfg: Any, blocks: int) -> Optional[BlockPlan]:
    """The plan of a model's options, which from then on carry it in ``plan_text``.

    fairseq hands a copy of the configuration to the model and saves the one that it came from, so
    both get the text.

    Args:
        cfg: has the fields of :class:`FilterOptions`.
        blocks: of the model as it is before the edit.

    Raises:
        PlanError: the plan cannot be read.
        ValueError: ``plan`` and ``abnormal_blocks``, or abnormal blocks that make no sense.
    """
    if cfg.plan_text:
        return BlockPlan.parse(cfg.plan_text)
    if cfg.plan is not None and cfg.abnormal_blocks is not None:
        raise ValueError("give plan or abnormal_blocks, not both")
    if cfg.plan is not None:
        plan = BlockPlan.load(cfg.plan)
    elif cfg.abnormal_blocks is not None:
        plan = filter_plan(FAMILY, blocks, list(cfg.abnormal_blocks), str(cfg.strategy), cfg.window)
    else:
        return None
    cfg.plan_text = plan.to_yaml()
    parent = cfg._get_parent() if OmegaConf.is_config(cfg) else None
    if parent is not None and OmegaConf.is_config(parent.get("model")):
        with open_dict(parent.model):
            parent.model.plan_text = cfg.plan_text
    return plan
