from __future__ import annotations

import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from espnet_plugin.bin import make_mini as command
from espnet_plugin.data.espeak import Voice
from espnet_plugin.data.mini import SAMPLE_RATE, MiniOptions, make_mini, plan, render
from espnet_plugin.data.speakers import PARTS, speakers
from espnet_plugin.data.textgrid import read_textgrid


def contents(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_speakers_are_distinct_and_both_sexes():
    everyone = [speaker for part in PARTS for speaker in speakers(part)]
    assert len(everyone) >= 24
    assert len({speaker.id for speaker in everyone}) == len(everyone)
    assert len({speaker.voice for speaker in everyone}) == len(everyone)
    assert {speaker.sex for speaker in everyone} == {"F", "M"}
    with pytest.raises(ValueError, match="nowhere"):
        speakers("nowhere")


def test_plan_of_the_default_corpus():
    utterances = plan(MiniOptions())
    assert len({utterance.id for utterance in utterances}) == len(utterances)
    assert len({utterance.seed for utterance in utterances}) == len(utterances)
    assert len({utterance.speaker.id for utterance in utterances}) >= 24
    assert all(utterance.directory.split("/")[0] == utterance.part for utterance in utterances)


def test_layout_is_librispeechs(tiny_corpus):
    corpus = tiny_corpus / "LibriSpeech"
    assert sorted(path.name for path in corpus.iterdir() if path.is_dir()) == sorted(PARTS)
    audio = sorted(corpus.rglob("*.flac"))
    assert len(audio) == 14
    said = {}
    for path in corpus.rglob("*.trans.txt"):
        assert path.name == "-".join(path.parts[-3:-1]) + ".trans.txt"
        for line in path.read_text(encoding="utf-8").splitlines():
            name, text = line.split(" ", 1)
            assert text == text.upper() and (path.parent / f"{name}.flac").is_file()
            said[name] = text
    assert set(said) == {path.stem for path in audio}
    for path in audio:
        info = soundfile.info(path)
        assert (info.format, info.subtype) == ("FLAC", "PCM_16")
        assert (info.samplerate, info.channels) == (16000, 1)
        assert 1.5 <= info.duration <= 6.0
    table = (corpus / "SPEAKERS.TXT").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|", 4) for line in table if not line.startswith(";")]
    assert {row[0].strip() for row in rows} == {path.parts[-3] for path in audio}
    assert {row[1].strip() for row in rows} <= {"F", "M"}
    assert {row[2].strip() for row in rows} == set(PARTS)


def test_textgrids_fit_transcripts_and_audio(tiny_corpus):
    corpus = tiny_corpus / "LibriSpeech"
    for path in corpus.rglob("*.flac"):
        grid = (tiny_corpus / "alignments" / path.relative_to(corpus)).with_suffix(".TextGrid")
        tiers = read_textgrid(grid)
        transcript = next(path.parent.glob("*.trans.txt")).read_text().splitlines()
        text = next(line.split(" ", 1)[1] for line in transcript if line.startswith(path.stem))
        assert [i.text.upper() for i in tiers["words"] if i.text] == text.split()
        for intervals in tiers.values():
            assert intervals[0].start == 0.0
            assert intervals[-1].end == soundfile.info(path).frames / SAMPLE_RATE
            assert all(a.end == b.start for a, b in zip(intervals, intervals[1:], strict=False))


def test_silence_and_hiss_are_where_the_alignment_says(tiny_corpus):
    """Silences hold noise alone; sibilants fit their times best with no shift at all."""
    corpus = tiny_corpus / "LibriSpeech"
    shifts = np.arange(-800, 801, 80)
    fit = np.zeros(len(shifts))
    silent, spoken = [], []
    for path in sorted(corpus.rglob("*.flac")):
        audio, _ = soundfile.read(path)
        spectrum = np.fft.rfft(audio)
        hertz = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)
        high = np.fft.irfft(np.where(hertz > 4000, spectrum, 0), len(audio)) ** 2
        low = np.fft.irfft(np.where(hertz < 1000, spectrum, 0), len(audio)) ** 2
        smooth = np.ones(80) / 80
        hiss = np.log10(np.convolve(high, smooth, "same") + 1e-9) - np.log10(
            np.convolve(low, smooth, "same") + 1e-9
        )
        grid = (tiny_corpus / "alignments" / path.relative_to(corpus)).with_suffix(".TextGrid")
        for interval in read_textgrid(grid)["phones"]:
            start, end = round(interval.start * SAMPLE_RATE), round(interval.end * SAMPLE_RATE)
            power = 10 * np.log10(np.mean(audio[start:end] ** 2) + 1e-12)
            if interval.text == "sil":
                silent.append(power)
            elif interval.text[:2] in ("AA", "AE", "AY", "EY", "OW"):
                spoken.append(power)
            if interval.text in ("S", "SH", "Z", "CH") and 800 < start and end + 800 < len(audio):
                fit += [hiss[start + shift : end + shift].mean() for shift in shifts]
    assert min(spoken) > max(silent)
    assert abs(shifts[fit.argmax()]) <= 0.005 * SAMPLE_RATE


def test_resampling_does_not_delay():
    """The first sound of the rendered speech is where it was at 22.05 kHz."""
    pytest.importorskip("espeakng_loader", reason="synthesis needs eSpeak NG")
    from espnet_plugin.data.espeak import synthesise

    speaker = replace(speakers(PARTS[0])[0], voice=Voice("en-us+m3"))
    utterance = replace(plan(MiniOptions())[0], text="see two cats", speaker=speaker, snr_db=200.0)
    rendered = render(utterance)
    raw = synthesise(utterance.text, speaker.voice)
    lead = rendered.phones[0].end
    where = np.flatnonzero(np.abs(raw.samples) > 0.5 * np.abs(raw.samples).max())[0]
    there = np.abs(rendered.samples[lead:])
    found = np.flatnonzero(there > 0.5 * there.max())[0]
    assert abs(found - where * 16000 / 22050) <= 2


def test_bytes_do_not_depend_on_jobs_or_on_the_run(tiny_corpus, tiny_options, tmp_path):
    make_mini(tmp_path, tiny_options, nj=2)
    assert contents(tmp_path) == contents(tiny_corpus)


def test_seed_and_noise_change_the_corpus(tiny_options):
    pytest.importorskip("espeakng_loader", reason="synthesis needs eSpeak NG")
    utterance = plan(tiny_options)[0]
    clean = render(replace(utterance, snr_db=80.0)).samples.astype(float)
    noisy = render(replace(utterance, snr_db=20.0)).samples.astype(float)
    ratio = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
    assert 13 < ratio < 26
    assert plan(replace(tiny_options, seed=2))[0].text != utterance.text


def test_same_options_are_left_and_others_replace(copied_corpus, tiny_options, caplog):
    flac = sorted((copied_corpus / "LibriSpeech").rglob("*.flac"))[0]
    flac.write_bytes(b"touched")
    make_mini(copied_corpus, tiny_options)
    assert flac.read_bytes() == b"touched"
    make_mini(copied_corpus, replace(tiny_options, train_minutes=0.1))
    assert len(list((copied_corpus / "LibriSpeech").rglob("*.flac"))) == 6
    assert len(list((copied_corpus / "alignments").rglob("*.TextGrid"))) == 6
    assert {path.name for path in copied_corpus.iterdir()} == {"LibriSpeech", "alignments"}


def test_lost_alignments_are_made_again(copied_corpus, tiny_options):
    shutil.rmtree(copied_corpus / "alignments")
    make_mini(copied_corpus, tiny_options)
    flacs = len(list((copied_corpus / "LibriSpeech").rglob("*.flac")))
    assert len(list((copied_corpus / "alignments").rglob("*.TextGrid"))) == flacs > 0


@pytest.mark.parametrize("name", ["LibriSpeech", "alignments"])
def test_what_is_not_ours_is_never_replaced(name, tmp_path, tiny_options):
    pytest.importorskip("espeakng_loader", reason="synthesis needs eSpeak NG")
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious").write_text("x")
    with pytest.raises(FileExistsError, match="choose another directory"):
        make_mini(tmp_path, tiny_options)
    assert (tmp_path / name / "precious").read_text() == "x"


def test_command(tmp_path, tiny_corpus):
    options = "--train_minutes 0.4 --dev_minutes 0.1 --test_minutes 0.1 --min_word_count 0"
    shutil.copytree(tiny_corpus, tmp_path / "mini")
    command.main(["--out", str(tmp_path / "mini"), *options.split()])
    assert contents(tmp_path / "mini") == contents(tiny_corpus)
    with pytest.raises(SystemExit, match="ask for a smaller part"):
        command.main(["--out", str(tmp_path / "none"), "--train_minutes", "0.1"])
    assert not (tmp_path / "none").exists()


def test_flac_streams_know_their_length(tiny_corpus):
    """STREAMINFO holds the number of samples, without which truncation could not be seen."""
    for path in (tiny_corpus / "LibriSpeech").rglob("*.flac"):
        head = path.read_bytes()[:26]
        assert head[:4] == b"fLaC"
        (packed,) = struct.unpack(">Q", head[18:26])
        assert packed & (2**36 - 1) == soundfile.info(path).frames
