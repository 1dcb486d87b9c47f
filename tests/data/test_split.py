from __future__ import annotations

from pathlib import Path

import pytest

from espnet_plugin.data.checks import Utterance
from espnet_plugin.data.split import apply_split, default_split, in_split, load_split, split_parts

PART = "train-clean-100"
UTTERANCES = [
    Utterance(f"{chapter}-{number:04d}", PART, Path("x.flac"), "A", 1)
    for chapter in ("11-100", "11-101", "12-200")
    for number in range(3)
] + [Utterance("30-1-0000", "test-other", Path("y.flac"), "B", 1)]
SEEN = {PART: {u.id for u in UTTERANCES if u.part == PART}, "test-other": {"30-1-0000"}}


def split_file(tmp_path, text):
    path = tmp_path / "split.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_speakers_chapters_and_utterances(tmp_path):
    path = split_file(
        tmp_path,
        """
sets:
  train:
    - part: train-clean-100
      include: [11, 12-200]
      exclude: [11-101, 12-200-0001]
  dev:
    - {part: train-clean-100, include: [12-200-0001]}
    - {part: test-other}
""",
    )
    split = load_split(path)
    assert split_parts(split) == [PART, "test-other"]
    sets = apply_split(split, UTTERANCES, SEEN)
    assert [utterance.id for utterance in sets["train"]] == [
        "11-100-0000",
        "11-100-0001",
        "11-100-0002",
        "12-200-0000",
        "12-200-0002",
    ]
    assert [utterance.id for utterance in sets["dev"]] == ["12-200-0001", "30-1-0000"]


def test_default_is_a_set_for_each_part():
    sets = apply_split(default_split([PART, "test-other"]), UTTERANCES, SEEN)
    assert {name: len(chosen) for name, chosen in sets.items()} == {
        "train_clean_100": 9,
        "test_other": 1,
    }


@pytest.mark.parametrize(
    "text, message",
    [
        ("sets: [", "not YAML"),
        ("train: x", "needs a mapping 'sets'"),
        ("sets: {train: []}", "set train: must be a list"),
        ("sets: {train: [{include: [1]}]}", "set train: each selection needs 'part'"),
        ("sets: {train: [{part: a, speakers: [1]}]}", "unknown key 'speakers'"),
        ("sets: {train: [{part: a, include: 7}]}", "'include' must be a list"),
    ],
)
def test_wrong_files_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_split(split_file(tmp_path, text))
    assert "split.yaml" in str(caught.value) and "\n" not in str(caught.value)


def select(**keys):
    return [{"part": PART, "include": [], "exclude": [], **keys}]


def test_an_utterance_belongs_to_one_set():
    with pytest.raises(ValueError, match="11-100-0001 is in the sets a and b"):
        apply_split(
            {"a": select(include=["11-100-0001"]), "b": select(include=["11"])}, UTTERANCES, SEEN
        )


def test_ids_must_exist_unless_their_utterance_was_damaged():
    with pytest.raises(ValueError, match="set a: .* no speaker, chapter or utterance '99'"):
        apply_split({"a": select(include=["99"])}, UTTERANCES, SEEN)
    seen = {PART: SEEN[PART] | {"99-1-0000"}}
    wanted = {"a": select(include=["11", "99-1-0000"])}
    assert len(apply_split(wanted, UTTERANCES, seen)["a"]) == 6
    with pytest.raises(ValueError, match="set a has no utterances"):
        apply_split({"a": select(include=["99"])}, UTTERANCES, seen)


def test_in_split():
    split = {"a": select(include=["11"], exclude=["11-101"]), "b": select(include=["12-200-0001"])}
    taken = [u.id for u in UTTERANCES if in_split(split, u.part, u.id)]
    assert taken == ["11-100-0000", "11-100-0001", "11-100-0002", "12-200-0001"]


def test_librispeech_subset_follows_its_rule(repo_root):
    split = load_split(repo_root / "egs/librispeech/asr1/conf/split.yaml")
    assert list(split) == ["train", "dev", "test_seen", "test_other_50"]
    number = {
        name: [int(u.rsplit("-", 1)[1]) for u in split[name][0]["include"]]
        for name in ("dev", "test_seen")
    }
    assert all(n % 20 == 9 for n in number["dev"])
    assert all(n % 16 == 15 for n in number["test_seen"])
    held_out = split["dev"][0]["include"] + split["test_seen"][0]["include"]
    assert sorted(held_out) == split["train"][0]["exclude"]
    assert len(split["test_other_50"][0]["include"]) == 50
