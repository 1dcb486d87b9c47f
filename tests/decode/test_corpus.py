"""The command on a data set: files, resumption, failures, ESPnet's options."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from espnet_plugin.bin import asr_inference_k2
from espnet_plugin.data.kaldi import read_ids, read_table
from espnet_plugin.decode.corpus import decode_corpus
from espnet_plugin.decode.data import SpeechData, model_rate
from espnet_plugin.decode.decoder import CtcDecoder
from espnet_plugin.decode.journal import Journal
from espnet_plugin.stacks.batches import DataError

FILES = ("text", "token", "token_int", "score")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Five recordings of noise; the fourth is empty."""
    generator = np.random.default_rng(3)
    lines = []
    for name, size in zip("bacde", (24000, 12000, 16000, 0, 1000), strict=True):
        path = tmp_path / "data" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, generator.normal(0, 0.1, size), 16000)
        lines.append(f"utt-{name} {path}\n")
    (tmp_path / "data" / "wav.scp").write_text("".join(lines))
    return tmp_path / "data"


def command(*words: object) -> None:
    asr_inference_k2.main([str(word) for word in ("--num_workers", 0, *words)])


def results(directory: Path) -> dict[str, list[str]]:
    return {
        f: (directory / "1best_recog" / f).read_text(encoding="utf-8").splitlines() for f in FILES
    }


def ids(lines: list[str]) -> list[str]:
    return [line.split(" ")[0] for line in lines]


def test_greedy_writes_every_utterance_in_order(tiny_experiment, data_dir, tmp_path) -> None:
    with open(data_dir / "wav.scp", "a") as stream:
        stream.write("utt-gone /nowhere/gone.wav\n")
    out = tmp_path / "out"
    command("--exp_dir", tiny_experiment, "--data_dir", data_dir, "--output_dir", out,
            "--method", "greedy")  # fmt: skip
    found = results(out)
    names = ["utt-b", "utt-a", "utt-c", "utt-d", "utt-e", "utt-gone"]
    assert all(ids(lines) == names for lines in found.values())
    assert found["text"][3] == "utt-d " and found["score"][3] == "utt-d 0.0"
    assert found["score"][5] == "utt-gone -inf"
    summary = json.loads((out / "rtf.json").read_text())
    assert list(summary["failed"]) == ["utt-gone"]
    assert summary["audio_seconds"] == pytest.approx(53000 / 16000)
    expected = (summary["encoder_seconds"] + summary["search_seconds"]) * 16000 / 53000
    assert summary["rtf"] == pytest.approx(expected, abs=1e-4)
    assert not (out / ".decoding.jsonl").exists()


def watch_decoding(monkeypatch, stop_after: int = 100) -> list[str]:
    """Names that are decoded from now on; the next one after so many is an interrupt."""
    decode = CtcDecoder.decode
    seen: list[str] = []

    def watching(self, waveforms, names=None, *more):
        if len(seen) == stop_after:
            raise KeyboardInterrupt
        seen.extend(names)
        return decode(self, waveforms, names, *more)

    monkeypatch.setattr(CtcDecoder, "decode", watching)
    return seen


def test_a_stopped_job_goes_on(tiny_experiment, data_dir, tmp_path, monkeypatch) -> None:
    options = ["--exp_dir", tiny_experiment, "--data_dir", data_dir, "--method", "greedy",
               "--batch_size", 1]  # fmt: skip
    command(*options, "--output_dir", tmp_path / "whole")
    seen = watch_decoding(monkeypatch, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        command(*options, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out" / "1best_recog").exists()
    monkeypatch.undo()
    again = watch_decoding(monkeypatch)
    command(*options, "--output_dir", tmp_path / "out")
    assert len(seen) == 2 and len(again) == 3 and not set(seen) & set(again)
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_a_stopped_job_begins_anew_on_new_data(
    tiny_experiment, data_dir, tmp_path, monkeypatch
) -> None:
    options = ["--exp_dir", tiny_experiment, "--data_dir", data_dir, "--method", "greedy",
               "--batch_size", 1, "--output_dir", tmp_path / "out"]  # fmt: skip
    seen = watch_decoding(monkeypatch, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        command(*options)
    monkeypatch.undo()
    again = watch_decoding(monkeypatch)
    (data_dir / "wav.scp").write_text((data_dir / "wav.scp").read_text())  # made again
    command(*options)
    assert set(seen) < set(again)


def test_other_options_for_the_text_are_another_job(tiny_experiment, data_dir, tmp_path) -> None:
    words = ["--exp_dir", tiny_experiment, "--data_dir", data_dir, "--method", "greedy",
             "--output_dir", tmp_path / "out"]  # fmt: skip
    jobs = [
        asr_inference_k2.setup(asr_inference_k2.get_parser().parse_args([*map(str, words), *more]))
        for more in ([], ["--token_type", "char"])
    ]
    assert jobs[0]["job"] != jobs[1]["job"]


def test_greedy_stores_no_lattices(tiny_experiment, data_dir, tmp_path) -> None:
    decoder = CtcDecoder.from_experiment(tiny_experiment, method="greedy")
    source = (str(data_dir / "wav.scp"), "speech", "sound")
    with pytest.raises(ValueError, match="greedy makes no lattices"):
        decode_corpus(decoder, source, ["utt-a"], tmp_path / "out", tmp_path / "lattices",
                      max_seconds=60.0)  # fmt: skip


def test_a_checkpoint_belongs_to_an_experiment(data_dir, tmp_path) -> None:
    with pytest.raises(SystemExit, match="--checkpoint belongs to --exp_dir"):
        command("--model_tag", "some/model", "--checkpoint", "latest.pth", "--data_dir", data_dir,
                "--output_dir", tmp_path / "out")  # fmt: skip


def test_journal_of_another_job_is_not_used(tmp_path) -> None:
    one = Journal(tmp_path / "journal", {"beam": 8})
    one.add({"results": {}})
    assert Journal(tmp_path / "journal", {"beam": 8}).entries == [{"results": {}}]
    assert Journal(tmp_path / "journal", {"beam": 9}).entries == []
    torn = Journal(tmp_path / "journal", {"beam": 9})
    torn.add({"results": {"a": 1}})
    with open(tmp_path / "journal", "a") as stream:
        stream.write('{"results": {"b"')
    assert Journal(tmp_path / "journal", {"beam": 9}).entries == [{"results": {"a": 1}}]


def test_espnets_command_line(tiny_experiment, data_dir, tmp_path) -> None:
    """What asr.sh writes, in two jobs; the files joined are those of one job."""
    pytest.importorskip("k2", reason="k2 is not installed for this torch")
    k2_config = tmp_path / "k2.yaml"
    k2_config.write_text("search_beam_size: 20\noutput_beam_size: 8\nnum_paths: 300\n")
    joined: dict[str, list[str]] = {name: [] for name in FILES}
    scp = (data_dir / "wav.scp").read_text().splitlines()
    for job, lines in enumerate((scp[:2], scp[2:])):
        keys = tmp_path / f"keys.{job}.scp"
        keys.write_text("\n".join(lines) + "\n")
        out = tmp_path / f"output.{job}"
        command("--batch_size", 1, "--ngpu", 0,
                "--data_path_and_name_and_type", f"{data_dir}/wav.scp,speech,sound",
                "--key_file", keys, "--asr_train_config", tiny_experiment / "config.yaml",
                "--asr_model_file", tiny_experiment / "valid.loss.ave.pth", "--output_dir", out,
                "--is_ctc_decoding", "true", "--use_nbest_rescoring", "false",
                "--num_paths", 1000, "--nll_batch_size", 100, "--k2_config", k2_config,
                "--lattice_dir", tmp_path / "lattices")  # fmt: skip
        for name, rows in results(out).items():
            joined[name] += rows
    out = tmp_path / "one"
    command("--exp_dir", tiny_experiment, "--data_dir", data_dir, "--output_dir", out,
            "--batch_size", 1)  # fmt: skip
    assert joined == results(out)
    from espnet_plugin.decode import best_paths, load_lattice

    for line in joined["token_int"][:3]:
        name, *tokens = line.split()
        for directory in (tmp_path / "lattices", out / "lattices"):
            assert best_paths(load_lattice(directory, name))[0] == [list(map(int, tokens))]


def test_a_packed_model_decodes_alike(tiny_experiment, data_dir, tmp_path) -> None:
    from espnet2.bin import pack

    archive = tmp_path / "model.zip"
    pack.main(["asr", "--asr_train_config", str(tiny_experiment / "config.yaml"),
               "--asr_model_file", str(tiny_experiment / "valid.loss.ave.pth"),
               "--option", str(tiny_experiment / "bpe.model"),
               "--outpath", str(archive)])  # fmt: skip
    options = ["--data_dir", data_dir, "--method", "greedy"]
    command("--exp_dir", tiny_experiment, *options, "--output_dir", tmp_path / "one")
    command("--model_tag", archive, *options, "--output_dir", tmp_path / "two")
    assert results(tmp_path / "one") == results(tmp_path / "two")


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["--use_nbest_rescoring", "true", "--method", "hlg"],
            "attention_rescoring and hlg at once",
        ),
        (["--lm_file", "lm.pth"], "--lm_train_config and --lm_file belong together"),
        (["--graph", "HLG.pt"], "--graph HLG.pt: not there; compile_graph makes one"),
        (["--lm", "lm.arpa"], "--lm lm.arpa: not there; train_ngram makes one"),
        (["--lm", "G.pt"], "--lm G.pt: not there; compile_graph --kind G makes one"),
        (["--method", "hlg", "--checkpoint", "none.pth"], "hlg needs a graph over words"),
        (["--penalty", "0.5"], "--penalty 0.5"),
        (["--nbest", "10"], "--nbest 10"),
        (["--ctc_weight", "0.3"], "--ctc_weight 0.3"),
        (["--method", "greedy", "--lattice_dir", "x"], "--lattice_dir"),
        (["--model_tag", "some/model"], "name one model"),
        (["--data_path_and_name_and_type", "a,speech,sound"], "--data_dir"),
        (["--search_beam", "0"], "search_beam must be above 0"),
    ],
)
def test_what_has_no_effect_is_refused(words, message, tiny_experiment, data_dir, tmp_path) -> None:
    with pytest.raises(SystemExit, match="asr_inference_k2: .*" + message):
        command("--exp_dir", tiny_experiment, "--data_dir", data_dir, "--output_dir",
                tmp_path / "out", *words)  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"lang_dir": "lang"}, "--graph lang/HLG.pt: not there"),
        ({"beam": 3}, "unknown option beam"),
    ],
)
def test_k2_config_is_checked(values, message, tiny_experiment, data_dir, tmp_path) -> None:
    (tmp_path / "k2.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(SystemExit, match=message):
        command("--exp_dir", tiny_experiment, "--data_dir", data_dir, "--output_dir",
                tmp_path / "out", "--k2_config", tmp_path / "k2.yaml")  # fmt: skip


def test_data_errors_name_the_utterance(data_dir) -> None:
    scp = str(data_dir / "wav.scp")
    with pytest.raises(DataError, match="no utt-x"):
        SpeechData((scp, "speech", "sound"), ["utt-a", "utt-x"], 60.0)
    with pytest.raises(DataError, match="utt-b: .* has 16000 samples/s, but .* 8000"):
        SpeechData((scp, "speech", "sound"), ["utt-b"], 60.0, rate=8000)
    with open(scp, "a") as stream:
        stream.write("utt-a elsewhere.wav\n")
    with pytest.raises(DataError, match=r"wav.scp:\d+: utt-a is there twice"):
        read_ids(scp)
    for content, message in ((b"", "scp: empty"), (b"u1 a\n\xff\n", "scp: not UTF-8")):
        (data_dir / "wav.scp").write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_table(scp)
    (data_dir / "wav.scp").write_bytes(b"u2 two  words \n\nu1\n")
    assert read_table(scp) == {"u2": "two  words", "u1": ""}


def test_nothing_readable_is_an_error(tiny_experiment, tmp_path) -> None:
    (tmp_path / "wav.scp").write_text("utt-1 /nowhere/1.wav\n")
    with pytest.raises(SystemExit, match="no utterance could be read; utt-1"):
        command("--exp_dir", tiny_experiment, "--data_dir", tmp_path, "--output_dir",
                tmp_path / "out", "--method", "greedy")  # fmt: skip


def test_batches_are_planned_by_duration(data_dir) -> None:
    names = ["utt-a", "utt-b", "utt-c", "utt-d", "utt-e"]
    data = SpeechData((str(data_dir / "wav.scp"), "speech", "sound"), names, max_seconds=2.5)
    assert data.batches == [["utt-b"], ["utt-c", "utt-a"], ["utt-e"], ["utt-d"]]
    batch = data[1]
    assert batch.names == ["utt-c", "utt-a"] and batch.seconds == pytest.approx(28000 / 16000)
    assert [len(array) for array in batch.arrays] == [16000, 12000]


@pytest.mark.parametrize("fs, rate", [("16k", 16000), (8000, 8000), (None, None)])
def test_rate_of_a_configuration(fs, rate) -> None:
    import argparse

    conf = {} if fs is None else {"fs": fs}
    assert model_rate(argparse.Namespace(frontend_conf=conf)) == rate
