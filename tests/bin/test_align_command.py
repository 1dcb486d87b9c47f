"""bin.align on small corpora: files, failures, going on, phones, comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment, load_manifest
from tiny_models import write_experiment

from espnet_plugin.bin import align
from espnet_plugin.decode.align import corpus

pytest.importorskip("k2", reason="alignment needs k2")

TEXTS = {
    "u1": "the quick brown fox",
    "u2": "she sells sea shells",
    "u3": "",
    "u4": "peter piper picked a peck of pickled peppers peter piper",
    "u5": "the 7 foxes",
    "u6": "sea shore",
}
SECONDS = {"u1": 2.0, "u2": 2.5, "u3": 1.0, "u4": 0.4, "u5": 2.0, "u6": 1.5}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("exp") / "asr", sharpness=1.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A Kaldi directory of noise; u6 breaks off, u7 has no text."""
    directory = tmp_path / "data"
    directory.mkdir()
    generator = np.random.default_rng(0)
    lines = []
    for name, seconds in [*SECONDS.items(), ("u7", 1.0)]:
        file = directory / f"{name}.wav"
        soundfile.write(file, generator.normal(0, 0.1, int(16000 * seconds)), 16000)
        lines.append(f"{name} {file}\n")
    (directory / "u6.wav").write_bytes(b"RIFF no wave")
    (directory / "wav.scp").write_text("".join(lines))
    (directory / "text").write_text("".join(f"{n} {t}\n" for n, t in TEXTS.items()))
    return directory


def run(experiment: Path, data: Path, out: Path, *options: str) -> dict:
    align.main(["--exp_dir", str(experiment), "--data", str(data), "--out", str(out), *options])
    return json.loads((out / "summary.json").read_text())


def test_a_kaldi_directory(experiment: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run(experiment, data, out)
    assert (summary["utterances"], summary["aligned"]) == (7, 2)
    failed = dict(line.split("\t") for line in (out / "failed.tsv").read_text().splitlines())
    assert failed == summary["failed"]
    for name, reason in {
        "u3": "text is empty",
        "u4": "too short: 10 frames, its text takes 36",
        "u5": "no token '7'",
        "u6": "cannot read",
        "u7": "no line in",
    }.items():
        assert reason in failed[name]
    segments = {segment.id: segment for segment in load_manifest(out / "supervisions.jsonl.gz")}
    assert set(segments) == set(TEXTS) - {"u6"}
    assert segments["u4"].alignment is None
    for name in ("u1", "u2"):
        levels = segments[name].alignment
        assert [item.symbol for item in levels["word"]] == TEXTS[name].split()
        text = "".join(item.symbol for item in levels["token"]).replace("▁", " ").strip()
        assert text == TEXTS[name]
        for items in levels.values():
            assert all(0 < item.score <= 1 and item.duration > 0 for item in items)
            ends = [item.end for item in items]
            assert all(e <= i.start + 2e-4 for e, i in zip(ends, items[1:], strict=False))
            assert ends[-1] <= SECONDS[name] + 1e-4
    columns = [line.split() for line in (out / "word.ctm").read_text().splitlines()]
    assert [c[4] for c in columns if c[0] == "u1"] == TEXTS["u1"].split()
    assert float(columns[0][2]) == pytest.approx(
        segments["u1"].alignment["word"][0].start, abs=1e-3
    )
    assert not (out / ".alignment.jsonl").exists()


def test_cuts_keep_the_recording_s_time(experiment: Path, data: Path, tmp_path: Path) -> None:
    recording = Recording.from_file(data / "u2.wav", recording_id="r")
    cut = MonoCut("c", 0.5, 2.0, 0, [SupervisionSegment("s", "r", 0.0, 2.0, text=TEXTS["u2"])],
                  recording=recording)  # fmt: skip
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl.gz")
    out = tmp_path / "out"
    assert run(experiment, tmp_path / "cuts.jsonl.gz", out)["aligned"] == 1
    (segment,) = load_manifest(out / "supervisions.jsonl.gz")
    assert (segment.recording_id, segment.start, segment.duration) == ("r", 0.5, 2.0)
    words = segment.alignment["word"]
    first = float((out / "word.ctm").read_text().split()[2])
    assert words[0].start == pytest.approx(0.5 + first, abs=1e-3)
    # Its own output is a reference without errors; times there are the recording's.
    cut.supervisions[0].alignment = {"word": [item.with_offset(-0.5) for item in words]}
    CutSet.from_cuts([cut]).to_file(tmp_path / "true.jsonl.gz")
    options = ("--reference", str(tmp_path / "true.jsonl.gz"))
    errors = run(experiment, tmp_path / "cuts.jsonl.gz", out, *options)["boundary_errors"]
    assert errors["word"]["matched"] == 4
    assert errors["word"]["both"]["mean"] < 1e-3


def test_a_stopped_run_goes_on(
    experiment: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(experiment, data, tmp_path / "whole", "--batch_size", "1")
    seen: list[str] = []
    real = corpus._align_batch

    def stop_at_the_third(aligner, batch):  # type: ignore[no-untyped-def]
        seen.extend(one.utterance.utt_id for one in batch)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(aligner, batch)

    monkeypatch.setattr(corpus, "_align_batch", stop_at_the_third)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(experiment, data, out, "--batch_size", "1")
    assert not (out / "word.ctm").exists()

    def count(aligner, batch):  # type: ignore[no-untyped-def]
        seen.extend(one.utterance.utt_id for one in batch)
        return real(aligner, batch)

    monkeypatch.setattr(corpus, "_align_batch", count)
    assert run(experiment, data, out, "--batch_size", "1") == whole
    assert len(seen) == 3 + 3  # five that can be read; the one in work is done again
    for file in ("word.ctm", "token.ctm", "failed.tsv"):
        assert (out / file).read_text() == (tmp_path / "whole" / file).read_text()


def test_phones_with_variants_and_silence(data: Path, tmp_path: Path) -> None:
    phones = write_experiment(tmp_path / "phone", seed=1)
    config = yaml.safe_load((phones / "config.yaml").read_text())
    tokens = config["token_list"]
    tokens[2:6] = ["SIL", "AH", "K", "S"]
    config.update(token_type="word", bpemodel=None)
    (phones / "config.yaml").write_text(yaml.safe_dump(config))
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("the K AH\nthe S\nquick K AH K\nbrown S\nfox AH K S\nfox S K\n")
    out = tmp_path / "out"
    options = ["--lexicon", str(lexicon), "--silence", "SIL"]
    summary = run(phones, data, out, *options)
    assert summary["aligned"] == 1
    assert "the lexicon has no she" in summary["failed"]["u2"]
    spelt: dict[str, set[str]] = {}
    for line in lexicon.read_text().splitlines():
        spelt.setdefault(line.split()[0], set()).add(line.split(maxsplit=1)[1])
    segment = next(s for s in load_manifest(out / "supervisions.jsonl.gz") if s.id == "u1")
    for word in segment.alignment["word"]:
        own = [
            phone.symbol
            for phone in segment.alignment["phone"]
            if word.start <= phone.start + phone.duration / 2 < word.end
        ]
        assert " ".join(own) in spelt[word.symbol]
    # Calibration writes what --timing reads.
    reference = str(out / "supervisions.jsonl.gz")
    again = [*options, "--reference", reference, "--calibrate", "phone"]
    summary = run(phones, data, tmp_path / "again", *again)
    timing = json.loads((tmp_path / "again" / "timing.json").read_text())
    assert timing == summary["timing"]
    assert summary["boundary_errors"]["phone"]["both"]["mean"] < 1e-3
    given = [*options, "--timing", str(tmp_path / "again" / "timing.json"), "--shift", "0.1"]
    assert run(phones, data, tmp_path / "given", *given)["timing"] == {**timing, "shift": 0.1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "absent"], "absent: neither a Kaldi directory nor"),
        (["--silence", "SIL"], "--silence belongs to --lexicon"),
        (["--calibrate", "word"], "--calibrate needs --reference"),
        (["--split", "2"], "split must lie between"),
        (["--timing", "absent.json"], "--timing absent.json"),
        (["--exp_dir", "absent"], "absent/config.yaml: not there"),
    ],
)
def test_faults_are_one_line(
    experiment: Path, data: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(experiment, data, tmp_path / "out", *options)
    assert str(stopped.value).startswith("align: ")
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)
