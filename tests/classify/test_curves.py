"""Similarities and pruning curves of a classifier on real recordings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from espnet_plugin.classify.classifier import Classifier
from espnet_plugin.classify.curves import frame_samples, middle_third, prune, similarities
from espnet_plugin.classify.recordings import Recordings
from espnet_plugin.surgery.pruning_order import ORDERS


def idle(classifier: Classifier, blocks: list[int]) -> Classifier:
    """These blocks add nothing."""
    for block in blocks:
        for part in (
            classifier.stack.blocks[block].attention.out,
            classifier.stack.blocks[block].feed_forward.contract,
        ):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
    return classifier


def right_by_itself(classifier: Classifier, recordings: Recordings) -> Classifier:
    """A head that is right on all of ``recordings``: fitted to the stack's means."""
    with torch.no_grad():
        means = torch.stack([_mean(classifier, recordings, u) for u in recordings.utterances])
        targets = torch.tensor(
            [classifier.labels.index(recordings.labels[u.utt_id]) for u in recordings.utterances]
        )
        ones = torch.cat([means, torch.ones(len(means), 1)], dim=1).double()
        weights = torch.linalg.pinv(ones) @ nn.functional.one_hot(targets).double()
        classifier.head.weight.copy_(weights[:-1].T)
        classifier.head.bias.copy_(weights[-1])
    return classifier


def _mean(classifier: Classifier, recordings: Recordings, utterance) -> Tensor:
    _, waveforms, lengths = recordings.read([utterance])
    return classifier.stack.output(waveforms, lengths)[0][0].mean(dim=0)


def test_samples_are_valid_frames_of_all_states(classifier, recordings):
    every = frame_samples(classifier.stack, recordings, frames=10**6)
    with torch.no_grad():
        frames = sum(
            int(classifier.stack.output(*recordings.read([u])[1:])[1])
            for u in recordings.utterances
        )
    assert len(every) == 5 and all(state.shape == (frames, 16) for state in every)
    some = frame_samples(classifier.stack, recordings, frames=50)
    again = frame_samples(classifier.stack, recordings, frames=50)
    assert all(torch.equal(a, b) for a, b in zip(some, again, strict=True))
    place = int((every[0] == some[0][7]).all(dim=1).nonzero()[0])
    assert torch.equal(every[4][place], some[4][7])  # the same frame in every state


def test_similarities_are_symmetric_and_see_idle_blocks(classifier, recordings):
    found = similarities(frame_samples(idle(classifier, [3]).stack, recordings, 100))
    assert set(found) == {"cosine", "linear CKA", "mutual k-NN"}
    for values in found.values():
        matrix = torch.tensor(values)
        assert torch.equal(matrix, matrix.T)
        assert matrix[3, 4] == pytest.approx(1.0)  # block 3 gives what it gets
        assert matrix[0, 1] < 0.999


def test_idle_last_blocks_cost_nothing(classifier, recordings):
    classifier = right_by_itself(idle(classifier, [2, 3]), recordings)
    found = prune(classifier, recordings, recordings, frames=100)
    assert set(found["curves"]) == set(ORDERS)
    assert (found["blocks"], found["total"], found["core"]) == (4, 16, [1, 2])
    for name in ("block_influence", "knn_influence", "cka", "backward"):
        curve = found["curves"][name]
        assert set(curve["order"][:2]) == {2, 3}
        assert curve["right"][:3] == [16, 16, 16]
        assert curve["removable"] >= 2
    assert all(len(curve["right"]) == 4 for curve in found["curves"].values())


def test_the_middle_third():
    assert middle_third(12) == [5, 6, 4, 7]
    assert middle_third(3) == [1]
    assert middle_third(1) == []
