"""Sets of utterances, named by part, speaker, chapter and utterance in a YAML file.

sets:
  train:
    - part: train-clean-100
      include: [4088, 4406-16882]        # speakers, chapters or utterances; all if absent
      exclude: [4088-158077-0003]        # the same; none if absent
  dev:
    - {part: train-clean-100, include: [4088-158077-0003]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set, Union

import yaml

from espnet_plugin.data.checks import Utterance

_KEYS = {"part", "include", "exclude"}


def load_split(path: Union[str, Path]) -> Dict[str, List[Dict[str, Any]]]:
    """Read a split: for each set its selections, each with ``part``, ``include``, ``exclude``.

    Raises:
        ValueError: naming the file, the set and the key that is wrong.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}".replace("\n", " ")) from None
    if not isinstance(content, dict) or not isinstance(content.get("sets"), dict):
        raise ValueError(f"{path}: needs a mapping 'sets' from set names to lists of selections")
    split: Dict[str, List[Dict[str, Any]]] = {}
    for name, selections in content["sets"].items():
        if not isinstance(selections, list) or not selections:
            raise ValueError(f"{path}: set {name}: must be a list of selections")
        split[str(name)] = []
        for selection in selections:
            if not isinstance(selection, dict) or "part" not in selection:
                raise ValueError(f"{path}: set {name}: each selection needs 'part'")
            unknown = set(selection) - _KEYS
            if unknown:
                raise ValueError(
                    f"{path}: set {name}: unknown key {sorted(unknown)[0]!r};"
                    f" there are {', '.join(sorted(_KEYS))}"
                )
            for key in ("include", "exclude"):
                if not isinstance(selection.get(key, []), list):
                    raise ValueError(f"{path}: set {name}: {key!r} must be a list of ids")
            split[str(name)].append(
                {
                    "part": str(selection["part"]),
                    "include": [str(item) for item in selection.get("include", [])],
                    "exclude": [str(item) for item in selection.get("exclude", [])],
                }
            )
    return split


def default_split(parts: Sequence[str]) -> Dict[str, List[Dict[str, Any]]]:
    """One set per part, named with underscores (``train_clean_5``) as ESPnet's recipes do."""
    return {
        part.replace("-", "_"): [{"part": part, "include": [], "exclude": []}] for part in parts
    }


def split_parts(split: Dict[str, List[Dict[str, Any]]]) -> List[str]:
    """The parts that a split draws on, in its order."""
    return list(dict.fromkeys(item["part"] for items in split.values() for item in items))


def _ids(utterance: str) -> Set[str]:
    """The utterance's speaker, chapter and own id."""
    return {utterance, utterance.rsplit("-", 1)[0], utterance.split("-")[0]}


def _chosen(selection: Dict[str, Any], part: str, utterance: str) -> bool:
    include, ids = set(selection["include"]), _ids(utterance)
    return (
        part == selection["part"]
        and (not include or bool(ids & include))
        and not ids & set(selection["exclude"])
    )


def in_split(split: Dict[str, List[Dict[str, Any]]], part: str, utterance: str) -> bool:
    """Whether any set of ``split`` takes the utterance (an id) of ``part``."""
    return any(_chosen(item, part, utterance) for items in split.values() for item in items)


def apply_split(
    split: Dict[str, List[Dict[str, Any]]],
    utterances: Sequence[Utterance],
    seen: Mapping[str, Iterable[str]],
) -> Dict[str, List[Utterance]]:
    """The utterances of each set.

    Args:
        split: from :func:`load_split` or :func:`default_split`.
        utterances: those fit for use.
        seen: all utterance ids of each part, damaged ones included: a split may name them.

    Raises:
        ValueError: an id that the corpus does not have, an utterance in two sets, an empty set.
    """
    known = {part: {i for name in names for i in _ids(name)} for part, names in seen.items()}
    sets: Dict[str, List[Utterance]] = {}
    owner: Dict[str, str] = {}
    for name, selections in split.items():
        chosen: Dict[str, Utterance] = {}
        for selection in selections:
            part = selection["part"]
            for item in selection["include"] + selection["exclude"]:
                if item not in known.get(part, set()):
                    raise ValueError(
                        f"set {name}: {part} has no speaker, chapter or utterance {item!r};"
                        " correct the split"
                    )
            chosen.update({u.id: u for u in utterances if _chosen(selection, u.part, u.id)})
        for utterance_id in chosen:
            if utterance_id in owner:
                raise ValueError(
                    f"utterance {utterance_id} is in the sets {owner[utterance_id]} and {name};"
                    " exclude it from one"
                )
            owner[utterance_id] = name
        if not chosen:
            raise ValueError(f"set {name} has no utterances; correct the split")
        sets[name] = [chosen[utterance_id] for utterance_id in sorted(chosen)]
    return sets
