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

from espnet_plugin.bin import asr_inference_k2  # noqa: E402
from espnet_plugin.decode import Beams, best_paths, ctc_topology, find_lattices  # noqa: E402
from espnet_plugin.decode import retries as retries_module  # noqa: E402
from espnet_plugin.decode.limits import beyond_int32, lack_of_memory  # noqa: E402

ROOT = Path(__file__).parents[2]


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


def write_data(directory: Path, seconds: dict[str, float]) -> None:
    """Noise of these lengths."""
    generator = np.random.default_rng(0)
    lines = []
    for name, length in seconds.items():
        path = directory / f"{name}.wav"
        soundfile.write(path, generator.normal(0, 0.1, int(16000 * length)), 16000)
        lines.append(f"{name} {path}\n")
    (directory / "wav.scp").write_text("".join(lines))


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """A Python process; it must end well."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def scores(directory: Path) -> dict[str, float]:
    lines = (directory / "1best_recog" / "score").read_text().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines}


# The command whose process kills itself, as the kernel would, when it comes to the utterance
# ``bad`` with beams that have been halved less than twice.
DEADLY = """
import os, signal, sys
from espnet_plugin.bin import asr_inference_k2
from espnet_plugin.decode import corpus, decoder  # ESPnet is imported once for all processes

decode = decoder.CtcDecoder.decode

def deadly(self, waveforms, names, references, narrowed):
    with open(sys.argv[1], "a") as stream:
        print(os.getpid(), narrowed, *names, file=stream)
    if "bad" in names and narrowed < 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(self, waveforms, names, references, narrowed)

decoder.CtcDecoder.decode = deadly
sys.exit(asr_inference_k2.watched_main(sys.argv[2:]))
"""


def test_a_job_whose_process_is_killed_goes_on(tiny_experiment, tmp_path: Path) -> None:
    write_data(tmp_path, {"other": 1.5, "empty": 0.0, "bad": 1.6, "first": 3.0})
    options = ["--num_workers", 0, "--exp_dir", tiny_experiment, "--data_dir", tmp_path,
               "--batch_seconds", 3.5]  # fmt: skip
    done = run("-c", DEADLY, tmp_path / "log", *options, "--output_dir", tmp_path / "out")
    calls = [line.split(" ", 1) for line in (tmp_path / "log").read_text().splitlines()]
    processes = list(dict.fromkeys(process for process, _ in calls))
    assert [[what for p, what in calls if p == process] for process in processes] == [
        ["0 first", "0 bad other"],  # killed
        ["0 empty", "0 bad"],  # goes on after the first batch, and is killed in the first half
        ["1 bad"],  # killed with narrower beams too
        ["2 bad", "0 other"],
    ]
    assert done.stderr.count("the job was ended by SIGKILL; it is started again") == 3
    assert "bad and 1 more: the process was ended by SIGKILL; decoding in two halves" in done.stderr
    assert "bad: the process was ended by SIGKILL; decoding with narrower beams" in done.stderr
    found = scores(tmp_path / "out")
    assert list(found) == ["other", "empty", "bad", "first"]
    assert found["empty"] == 0 and all(found[n] < 0 for n in ("other", "bad", "first"))
    assert np.isfinite(list(found.values())).all()
    assert json.loads((tmp_path / "out" / "rtf.json").read_text())["failed"] == {}
    assert not list((tmp_path / "out").glob(".decoding*"))

    asr_inference_k2.main([*map(str, options), "--output_dir", str(tmp_path / "whole")])
    # encoders of two processes differ by float32 rounding
    assert scores(tmp_path / "whole")["first"] == pytest.approx(found["first"], rel=1e-5)


def test_the_real_command_with_little_memory(tiny_experiment, tmp_path: Path) -> None:
    """Attention of 150 s (two heads, 3,750 frames) needs 112 MB for its scores alone."""
    write_data(tmp_path, {"a": 1.0, "b": 0.0, "noise": 150.0, "c": 1.5})
    done = run("-m", "espnet_plugin.bin.asr_inference_k2", "--num_workers", 0, "--memory_gb", 0.1,
               "--exp_dir", tiny_experiment, "--data_dir", tmp_path,
               "--output_dir", tmp_path / "out")  # fmt: skip
    found = scores(tmp_path / "out")
    assert list(found) == ["a", "b", "noise", "c"]
    assert found["noise"] == -np.inf and np.isfinite([found[n] for n in "abc"]).all()
    assert done.stderr.count("noise: too little memory; decoding with narrower beams") == 5
    failed = json.loads((tmp_path / "out" / "rtf.json").read_text())["failed"]
    assert failed == {"noise": "too little memory, even with the narrowest beams"}
    assert "noise: failed, its hypothesis is empty" in done.stderr
