from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import load_manifest
from scipy.signal import resample

from espnet_plugin.bin import prepare_data as command
from espnet_plugin.data.checks import BadDataError, check_corpus
from espnet_plugin.data.kaldi import write_kaldi_dir
from espnet_plugin.data.librispeech import find_parts, prepare, read_utterances
from espnet_plugin.data.perturb import perturb_speed
from espnet_plugin.data.speakers import PARTS

FILES = {"wav.scp", "text", "utt2spk", "spk2utt", "utt2dur"}


def table(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.encode() for line in lines] == sorted(line.encode() for line in lines)
    return dict(line.split(" ", 1) for line in lines)


@pytest.fixture
def prepared(tiny_corpus, tmp_path):
    cuts = prepare(
        tiny_corpus / "LibriSpeech", tmp_path / "data", alignments_dir=tiny_corpus / "alignments"
    )
    return tmp_path / "data", cuts


def test_kaldi_directories(prepared, tiny_corpus):
    data, cuts = prepared
    assert {path.name for path in data.iterdir()} == {
        "train_clean_5",
        "dev_clean_2",
        "test_clean_1",
        "manifests",
    }
    for name, size in [("train_clean_5", 10), ("dev_clean_2", 2), ("test_clean_1", 2)]:
        assert {path.name for path in (data / name).iterdir()} == FILES
        tables = {file: table(data / name / file) for file in FILES}
        assert len(tables["text"]) == size == len(cuts[name])
        for file in FILES - {"spk2utt"}:
            assert list(tables[file]) == list(tables["text"])
        speakers = {
            utterance: speaker
            for speaker, utterances in tables["spk2utt"].items()
            for utterance in utterances.split()
        }
        assert speakers == tables["utt2spk"]
        for utterance, path in tables["wav.scp"].items():
            assert os.path.isabs(path)
            seconds = soundfile.info(path).duration
            assert float(tables["utt2dur"][utterance]) == pytest.approx(seconds, abs=1e-6)
            lines = next(Path(path).parent.glob("*.trans.txt")).read_text().splitlines()
            assert f"{utterance} {tables['text'][utterance]}" in lines


def test_manifests_hold_audio_and_alignments(prepared):
    data, cuts = prepared
    names = {f"{name}_{kind}.jsonl.gz" for name in cuts for kind in KINDS}
    assert {path.name for path in (data / "manifests").iterdir()} == names
    for cut in load_manifest(data / "manifests/test_clean_1_cuts.jsonl.gz"):
        audio, rate = soundfile.read(cut.recording.sources[0].source, dtype="float32")
        assert rate == cut.sampling_rate == 16000
        assert np.array_equal(cut.load_audio()[0], audio)
        supervision = cut.supervisions[0]
        assert cut.id == cut.recording.id == supervision.id == supervision.recording_id
        assert [item.symbol for item in supervision.alignment["word"]] == supervision.text.split()
        phones = supervision.alignment["phone"]
        assert phones[0].start == 0 and phones[-1].end == pytest.approx(cut.duration)


KINDS = ("recordings", "supervisions", "cuts")


def test_second_run_replaces_the_first(prepared, tiny_corpus):
    data, _ = prepared
    before = {
        path: path.read_bytes()
        for path in data.rglob("*")
        if path.parent.name != "manifests" and path.is_file()
    }
    prepare(tiny_corpus / "LibriSpeech", data, alignments_dir=tiny_corpus / "alignments", nj=2)
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in data.rglob(".*")]


def damage(corpus):
    """Truncate one FLAC and empty the transcript of another; return their ids."""
    flacs = sorted((corpus / "LibriSpeech" / "train-clean-5").rglob("*.flac"))
    flacs[0].write_bytes(flacs[0].read_bytes()[:9000])
    transcript = next(flacs[1].parent.glob("*.trans.txt"))
    lines = transcript.read_text().splitlines()
    changed = [flacs[1].stem if line.startswith(flacs[1].stem) else line for line in lines]
    transcript.write_text("\n".join(changed) + "\n")
    return {flacs[0].stem, flacs[1].stem}


def test_damage_stops_the_stage_and_leaves_nothing(copied_corpus, tmp_path):
    bad = damage(copied_corpus)
    with pytest.raises(BadDataError) as caught:
        prepare(copied_corpus / "LibriSpeech", tmp_path / "data")
    assert {problem.utterance for problem in caught.value.problems} == bad
    assert not (tmp_path / "data").exists()


def test_damage_leaves_an_earlier_directory_as_it_was(prepared, copied_corpus):
    data, _ = prepared
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    damage(copied_corpus)
    with pytest.raises(BadDataError):
        prepare(copied_corpus / "LibriSpeech", data)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_failure_while_writing_leaves_no_directory(tiny_corpus, tmp_path):
    with pytest.raises(ValueError, match="no set 'nowhere' to perturb"):
        prepare(
            tiny_corpus / "LibriSpeech", tmp_path / "data", speeds=[0.9], speed_sets=["nowhere"]
        )
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_skip_bad_leaves_the_damaged_out(copied_corpus, tmp_path, caplog):
    bad = damage(copied_corpus)
    cuts = prepare(copied_corpus / "LibriSpeech", tmp_path / "data", skip_bad=True)
    kept = {cut.id for chosen in cuts.values() for cut in chosen}
    assert len(kept) == 12 and not kept & bad
    assert all(name in caplog.text for name in bad)


def test_textgrids_that_do_not_fit_are_all_reported_or_left_out(copied_corpus, tmp_path):
    alignments = copied_corpus / "alignments"
    grids = [sorted((alignments / part).rglob("*.TextGrid"))[0] for part in PARTS[1:]]
    grids[0].write_text("nonsense")
    grids[1].write_text(grids[1].read_text().replace('text = "', 'text = "x', 2))
    options = {"parts": PARTS, "alignments_dir": alignments}
    with pytest.raises(BadDataError) as caught:
        prepare(copied_corpus / "LibriSpeech", tmp_path / "data", **options)
    assert [problem.file for problem in caught.value.problems] == [str(path) for path in grids]
    assert not (tmp_path / "data").exists()
    for grid in grids:  # a set without utterances would be another error
        assert len(list(grid.parents[2].rglob("*.TextGrid"))) > 1
    cuts = prepare(copied_corpus / "LibriSpeech", tmp_path / "data", skip_bad=True, **options)
    kept = {cut.id for chosen in cuts.values() for cut in chosen}
    assert kept and not kept & {grid.stem for grid in grids}


def test_the_corpus_is_never_written_to(tiny_corpus, tmp_path):
    corpus = tiny_corpus / "LibriSpeech"
    for out in (corpus, corpus / "train-clean-5", corpus / "data"):
        with pytest.raises(ValueError, match="never written to"):
            prepare(corpus, out)
    (tmp_path / "data" / "dev_clean_2").mkdir(parents=True)
    (tmp_path / "data" / "dev_clean_2" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="is no Kaldi directory"):
        prepare(corpus, tmp_path / "data", parts=["dev-clean-2"])
    with pytest.raises(ValueError, match="all different"):
        prepare(corpus, tmp_path / "data", speeds=[0.9, 0.9])


def test_speed_perturbation(tiny_corpus, tmp_path):
    data = tmp_path / "data"
    cuts = prepare(
        tiny_corpus / "LibriSpeech",
        data,
        parts=["dev-clean-2"],
        alignments_dir=tiny_corpus / "alignments",
        speeds=(0.9, 1.0, 1.1),
        speed_sets=["dev_clean_2"],
    )
    plain, perturbed = cuts["dev_clean_2"], cuts["dev_clean_2_sp"]
    assert set(table(data / "dev_clean_2_sp" / "text")) == {
        prefix + cut.id for cut in plain for prefix in ("", "sp0.9-", "sp1.1-")
    }
    speakers = table(data / "dev_clean_2_sp" / "utt2spk")
    for cut in plain:
        for factor in (0.9, 1.1):
            name = f"sp{factor}-{cut.id}"
            fast = perturbed[name]
            assert speakers[name] == f"sp{factor}-{cut.supervisions[0].speaker}"
            assert Path(fast.recording.sources[0].source).parent == data / "audio/dev_clean_2_sp"
            audio = fast.load_audio()[0]
            original = cut.load_audio()[0]
            assert len(audio) == pytest.approx(len(original) / factor, abs=2)
            for kind in ("word", "phone"):
                for slow, item in zip(
                    cut.supervisions[0].alignment[kind],
                    fast.supervisions[0].alignment[kind],
                    strict=True,
                ):
                    assert item.symbol == slow.symbol
                    assert item.start == pytest.approx(slow.start / factor, abs=2e-4)
                    assert item.duration == pytest.approx(slow.duration / factor, abs=2e-4)
            # Another way to the same end: interpolation by Fourier series.
            reference = resample(original, len(audio))
            assert np.corrcoef(reference, audio)[0, 1] > 0.99


def test_perturb_speed_of_one_keeps_the_cuts(prepared, tmp_path):
    cuts = prepared[1]["dev_clean_2"]
    kept = perturb_speed(cuts, [1.0], tmp_path / "audio", tmp_path / "audio")
    assert [cut.id for cut in kept] == [cut.id for cut in cuts]
    assert not (tmp_path / "audio").exists()


def test_kaldi_directory_needs_utterances(tmp_path):
    with pytest.raises(ValueError, match="train: no utterances"):
        write_kaldi_dir(tmp_path / "train", [])


def test_find_parts(tiny_corpus, tmp_path):
    assert find_parts(tiny_corpus / "LibriSpeech") == sorted(PARTS)
    with pytest.raises(FileNotFoundError, match="give the directory that holds"):
        find_parts(tmp_path / "nowhere")


def test_odd_text_reaches_the_manifest(copied_corpus):
    """Letters beyond ASCII are kept and wide spaces become plain ones."""
    corpus = copied_corpus / "LibriSpeech"
    path = next((corpus / "dev-clean-2").rglob("*.trans.txt"))
    name = path.read_text().split()[0]
    path.write_text(f"{name} ÉTÉ\u3000À L'ŒUVRE 東京\n", encoding="utf-8")
    checked = check_corpus(corpus, ["dev-clean-2"])
    cuts = read_utterances(checked.utterances, corpus)
    assert cuts[name].supervisions[0].text == "ÉTÉ À L'ŒUVRE 東京"


def digest(root):
    seen = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        seen.update(f"{path} {path.stat().st_mtime_ns} {path.stat().st_size}".encode())
    return seen.hexdigest()


def test_real_chapter_by_a_split(librispeech_root, data_root, tmp_path):
    part = librispeech_root / "train-clean-100"
    source = part / "8226" / "274371"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    corpus = tmp_path / "LibriSpeech"
    (corpus / "train-clean-100" / "8226").mkdir(parents=True)
    shutil.copytree(
        source,
        corpus / "train-clean-100/8226/274371",
        ignore=lambda _, names: [n for n in names if n.endswith(".flac") and n[-7:-5] > "09"],
    )
    names = sorted(path.stem for path in corpus.rglob("*.flac"))
    transcript = next(corpus.rglob("*.trans.txt"))
    transcript.chmod(0o644)
    transcript.parent.chmod(0o755)
    lines = [line for line in transcript.read_text().splitlines() if line.split()[0] in names]
    transcript.write_text("\n".join(lines) + "\n")
    split = tmp_path / "split.yaml"
    split.write_text(
        f"sets:\n  train: [{{part: train-clean-100, include: [8226], exclude: [{names[0]}]}}]\n"
        f"  dev: [{{part: train-clean-100, include: [{names[0]}]}}]\n"
    )
    before = digest(corpus)
    command.main(
        f"--corpus_dir {corpus} --alignments {data_root / 'alignments'} --split {split}"
        f" --out {tmp_path / 'data'}".split()
    )
    assert digest(corpus) == before
    assert list(table(tmp_path / "data/dev/text")) == names[:1]
    assert list(table(tmp_path / "data/train/text")) == names[1:]
    cuts = load_manifest(tmp_path / "data/manifests/train_cuts.jsonl.gz")
    assert all(cut.supervisions[0].alignment["phone"] for cut in cuts)


def test_command_says_what_is_wrong(copied_corpus, tmp_path):
    bad = damage(copied_corpus)
    base = ["--corpus_dir", str(copied_corpus / "LibriSpeech"), "--out", str(tmp_path / "data")]
    with pytest.raises(SystemExit) as caught:
        command.main(base)
    assert all(name in str(caught.value) for name in bad)
    command.main([*base, "--skip_bad", "--parts", "train-clean-5", "--nj", "1"])
    assert not set(table(tmp_path / "data/train_clean_5/text")) & bad
    with pytest.raises(SystemExit, match="no \\*.trans.txt"):
        command.main([*base, "--parts", "dev-other"])
