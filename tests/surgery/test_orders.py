"""Plans from pruning orders, and the similarities that they need."""

from __future__ import annotations

import pytest
import torch
from budget_subjects import recordings, subject

from espnet_plugin.analysis.similarity import cosine_similarity, mutual_knn
from espnet_plugin.stacks.batches import list_utterances, read_batch
from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.orders import Similarities, measure_similarities, order_plan
from espnet_plugin.surgery.plan import StackDescription

STACK = StackDescription("hubert", 4, "small")


def similarities(**values):
    flat = {key: [[1.0] * 5 for _ in range(5)] for key in ("cosine", "linear_cka", "mutual_knn")}
    return Similarities("small", "data", "frames", 10, 8, {**flat, **values})


def test_the_most_similar_blocks_are_dropped_first_with_their_figures():
    cosine = [[1.0] * 5 for _ in range(5)]
    for block, value in enumerate([0.99, 0.5, 0.9, 0.7]):
        cosine[block][block + 1] = cosine[block + 1][block] = value
    plan = order_plan(STACK, "block_influence", 2, similarities(cosine=cosine))
    assert plan.stack == STACK
    assert plan.actions == (Drop(2), Drop(3))  # block 0 is always kept
    assert plan.because[0] == (
        "block 2: number 1 of block_influence to go; cosine of its input and output 0.9000, frames "
        "of 8 utterances"
    )
    core = order_plan(STACK, "core_first", 2, similarities(cosine=cosine), core=[1])
    assert core.actions == (Drop(1), Drop(2))


def test_the_mean_over_all_other_states_is_given_where_it_counts():
    knn = [[1.0 if i == j else 0.1 * min(i, j) for i in range(5)] for j in range(5)]
    plan = order_plan(STACK, "multi_knn_influence", 1, similarities(mutual_knn=knn))
    assert plan.actions == (Drop(2),)
    # states 3 and 4 with the others: 0, 0.1, 0.2, 0.3; of equal ones the lower goes first
    assert "mean mutual k-NN (k = 10) with all others 0.1500" in plan.because[0]


def test_orders_without_similarities_need_none():
    assert order_plan(STACK, "backward", 2).actions == (Drop(3), Drop(2))
    assert order_plan(STACK, "forward_backward", 3).actions == (Drop(1), Drop(3), Drop(2))
    assert order_plan(STACK, "forward", 0).actions == ()


@pytest.mark.parametrize(
    ("order", "remove", "message"),
    [
        ("backward", 4, "can drop 0 to 3 of 4 blocks, not 4"),
        ("cka", -1, "can drop 0 to 3"),
        ("sideways", 1, "unknown order 'sideways'"),
    ],
)
def test_what_cannot_be_is_one_line(order, remove, message):
    with pytest.raises(ValueError, match=message):
        order_plan(STACK, order, remove, similarities())


def test_an_order_without_its_similarities_says_which_it_needs():
    with pytest.raises(ValueError, match="block_influence needs the cosine"):
        order_plan(STACK, "block_influence", 1)


def test_frames_or_means_of_utterances_are_compared(tmp_path):
    one = subject("hubert", 3, idle=[1])
    utterances = list_utterances(recordings(tmp_path, frames=(40, 30, 35, 50, 45, 38)))
    frames = measure_similarities(one.stack, utterances, "frames", 4, batch_seconds=0.2)
    assert frames["cosine"][1][2] == pytest.approx(1.0)  # an idle block
    assert frames["cosine"][0][1] < 0.999
    means = measure_similarities(one.stack, utterances, "utterances", 3, batch_seconds=0.2)
    expected = []
    with torch.no_grad():
        for utterance in utterances:
            hidden, _ = one.stack(read_batch([utterance])[1])
            expected.append(torch.stack([state[0].double().mean(0) for state in hidden]))
    states = torch.stack(expected).unbind(1)
    for i in range(4):
        for j in range(4):
            cosine = cosine_similarity(states[i], states[j])
            assert means["cosine"][i][j] == pytest.approx(cosine, abs=1e-5)
            assert means["mutual_knn"][i][j] == pytest.approx(mutual_knn(states[i], states[j], 3))
    assert all(set(found) == {"cosine", "linear_cka", "mutual_knn"} for found in (frames, means))


def test_too_few_utterances_are_said(tmp_path):
    utterances = list_utterances(recordings(tmp_path))
    with pytest.raises(ValueError, match="4 utterances are too few for 10 neighbours: give 11"):
        measure_similarities(subject().stack, utterances, "utterances")
    with pytest.raises(ValueError, match="samples must be one of"):
        measure_similarities(subject().stack, utterances, "words")


def test_similarities_are_stored_and_serve_only_what_they_are_of(tmp_path):
    found = similarities()
    found.save(tmp_path / "similarity.json")
    again = Similarities.load(tmp_path / "similarity.json")
    assert again == found and again.serves(similarities(cosine=[]))
    for change in (
        {"data": "other"}, {"model": "other"}, {"neighbours": 3}, {"samples": "utterances"},
        {"utterances": 9},
    ):  # fmt: skip
        assert not again.serves(Similarities(**{**vars(found), **change}))
    (tmp_path / "other.json").write_text('{"model": 1}')
    with pytest.raises(ValueError, match=r"other\.json: holds no similarities"):
        Similarities.load(tmp_path / "other.json")
