"""Too little room, too narrow beams, processes that are killed: no utterance is lost."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from espnet_plugin.decode.journal import Journal, note_death
from espnet_plugin.decode.pieces import Piece, Pieces, hopeless

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from espnet_plugin.decode import Beams, best_paths, ctc_topology, find_lattices  # noqa: E402
from espnet_plugin.decode import retries as retries_module  # noqa: E402
from espnet_plugin.decode.limits import beyond_int32, lack_of_memory  # noqa: E402


def posteriors(batch: int, frames: int, vocab: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.log_softmax(3 * torch.randn(batch, frames, vocab, generator=generator), dim=-1)


def test_arcs_carry_the_parts_of_their_scores() -> None:
    log_probs = posteriors(3, 30, 12)
    lengths = torch.tensor([30, 7, 21])
    found = find_lattices(ctc_topology(12), log_probs, lengths)
    fsa = found.fsa
    for row, i in enumerate(found.utterances):
        one = k2.index_fsa(fsa, torch.tensor([row], dtype=torch.int32))
        final = one.labels < 0
        assert one.frame[final].eq(-1).all() and one.am_scores[final].eq(0).all()
        frame, label = one.frame[~final].long(), one.labels[~final].long()
        assert frame.max() == lengths[i] - 1
        assert torch.equal(one.am_scores[~final], log_probs[i, frame, label])
    assert torch.equal(fsa.scores, fsa.am_scores + fsa.lm_scores + fsa.lexicon_scores)


def test_batches_without_room_are_halved_and_singles_narrowed(monkeypatch, caplog) -> None:
    """A search that takes no more than two utterances, and the longest only with narrow beams."""
    caplog.set_level(logging.WARNING)
    search, beams = retries_module.intersect, Beams()

    def small(graph, log_probs, lengths, beams, scales):
        if len(lengths) > 2 or (int(lengths.max()) == 40 and beams.search_beam > 6):
            raise MemoryError
        return search(graph, log_probs, lengths, beams, scales)

    log_probs, lengths = posteriors(5, 40, 12), torch.tensor([40, 9, 30, 12, 20])
    graph = ctc_topology(12)
    expected = find_lattices(graph, log_probs, lengths, beams)
    monkeypatch.setattr(retries_module, "intersect", small)
    found = find_lattices(graph, log_probs, lengths, beams, names=list("abcde"))
    assert sorted(found.utterances) == [0, 1, 2, 3, 4] and not found.failed
    best = dict(zip(expected.utterances, best_paths(expected.fsa)[0], strict=True))
    assert dict(zip(found.utterances, best_paths(found.fsa)[0], strict=True)) == best
    assert "a and 4 more: too little memory; searching in two halves" in caplog.text
    assert "a: too little memory; searching again with Beams(search_beam=5.0" in caplog.text


def test_a_single_utterance_without_room_fails_by_name(monkeypatch, caplog) -> None:
    def never(*arguments):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(retries_module, "intersect", never)
    found = find_lattices(ctc_topology(5), posteriors(1, 9, 5), torch.tensor([9]), names=["long"])
    assert found.fsa is None and "too little memory, even with" in found.failed[0]
    assert "long: too little memory, even with" in caplog.text


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch) -> None:
    def broken(*arguments):
        raise RuntimeError("size mismatch")

    monkeypatch.setattr(retries_module, "intersect", broken)
    with pytest.raises(RuntimeError, match="size mismatch"):
        find_lattices(ctc_topology(5), posteriors(1, 9, 5), torch.tensor([9]))
    assert lack_of_memory(MemoryError()) and not lack_of_memory(ValueError("out of memory"))


def test_32_bits_are_counted_before_the_search() -> None:
    graph = ctc_topology(500)
    assert beyond_int32(graph, [3000] * 10, 500, Beams()) is None
    assert "posteriors" in str(beyond_int32(graph, [500_000] * 9, 500, Beams()))
    assert "arcs of a frame" in str(beyond_int32(graph, [10] * 10_000, 500, Beams()))
    assert "states" in str(beyond_int32(graph, [5_000_000], 10, Beams()))
    assert beyond_int32(graph, [10] * 10_000, 500, Beams(20.0, 8.0, 30, 30)) is None


def test_pieces_of_a_batch_at_which_a_process_died(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "job")
    assert not note_death(journal.path, "SIGKILL")  # it was at no batch
    journal.begin(["a", "b", "c"], 0)
    assert note_death(journal.path, "SIGKILL")
    again = Journal(tmp_path / "journal", "job")
    pieces = Pieces(again.entries)
    assert pieces.waiting == [Piece(("a",)), Piece(("b", "c"))]
    for step in range(1, 6):
        pieces.died(pieces.waiting[0], "SIGABRT")
        assert pieces.waiting[0] == Piece(("a",), step)
    assert hopeless(pieces.waiting[0])
    pieces.done(["a"])
    assert pieces.names == {"b", "c"}


def test_a_job_that_is_killed_for_its_memory_goes_on(tiny_experiment, tmp_path: Path) -> None:
    """The real command with so little memory that a long noise ends its process."""
    generator = np.random.default_rng(0)
    lines = []
    for name, seconds in (("a", 1.0), ("b", 0.0), ("noise", 150.0), ("c", 1.5)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, generator.normal(0, 0.1, int(16000 * seconds)), 16000)
        lines.append(f"{name} {path}\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "espnet_plugin.bin.asr_inference_k2", "--num_workers", "0",
         "--exp_dir", str(tiny_experiment), "--data_dir", str(tmp_path), "--memory_gb", "0.2",
         "--output_beam", "1000", "--search_beam", "1000",
         "--output_dir", str(tmp_path / "out")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path / "out" / "1best_recog" / "score").read_text().splitlines()
    assert [line.split()[0] for line in text] == ["a", "b", "noise", "c"]
    assert (
        "noise: " in done.stderr
        and "searching again with" in done.stderr
        or ("decoding with narrower beams" in done.stderr)
    )
    assert set(json.loads((tmp_path / "out" / "rtf.json").read_text())["failed"]) <= {"noise"}
