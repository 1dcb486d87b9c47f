from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile

from espnet_plugin.data.checks import BadDataError, Problem, check_corpus

SPEAKER, CHAPTER = "1688", "142285"


@pytest.fixture
def real_chapter(librispeech_root, tmp_path):
    """A copy of ten real utterances of test-other, to damage."""
    source = librispeech_root / "test-other" / SPEAKER / CHAPTER
    if not source.is_dir():
        pytest.skip(f"no {source}")
    chapter = tmp_path / "LibriSpeech" / "test-other" / SPEAKER / CHAPTER
    shutil.copytree(source, chapter, copy_function=shutil.copyfile)
    for path in (tmp_path / "LibriSpeech").rglob("*"):
        path.chmod(0o755)
    chapter.chmod(0o755)
    return chapter


def edit(chapter, change):
    """Rewrite the transcript: ``change`` maps a list of its lines (bytes) to another."""
    path = next(chapter.glob("*.trans.txt"))
    path.write_bytes(b"\n".join(change(path.read_bytes().splitlines())) + b"\n")


def check(chapter):
    return check_corpus(chapter.parents[2], ["test-other"], nj=2)


def test_sound_data_passes_and_is_counted(real_chapter):
    checked = check(real_chapter)
    assert checked.problems == []
    assert len(checked.utterances) == 10
    for utterance in checked.utterances:
        assert utterance.samples == soundfile.info(utterance.audio).frames
        assert (utterance.speaker, utterance.chapter) == (SPEAKER, f"{SPEAKER}-{CHAPTER}")
        assert utterance.text and utterance.text == utterance.text.strip()


def test_each_kind_of_damage_is_reported_at_once(real_chapter):
    flacs = sorted(real_chapter.glob("*.flac"))
    ids = [path.stem for path in flacs]
    flacs[0].write_bytes(flacs[0].read_bytes()[: flacs[0].stat().st_size // 2])
    audio, _ = soundfile.read(flacs[1], dtype="int16")
    soundfile.write(flacs[1], audio[::2], 8000)
    soundfile.write(flacs[2], np.stack([audio, audio], axis=1), 16000)
    elsewhere = real_chapter.parent / "999999"
    elsewhere.mkdir()
    shutil.copyfile(flacs[6], elsewhere / flacs[6].name)
    flacs[8].write_bytes(b"")

    def damage(lines):
        assert [line.split()[0].decode() for line in lines] == ids
        lines[4] = ids[4].encode()  # empty
        lines[5] = ids[5].encode() + b" CAF\xc9 AU LAIT"
        lines[7] = lines[7] + b"\n" + lines[7]
        del lines[3]
        return [*lines, f"{SPEAKER}-{CHAPTER}-9999 NOBODY SAID THIS".encode()]

    edit(real_chapter, damage)
    checked = check(real_chapter)
    found = {problem.utterance: problem for problem in checked.problems}
    assert len(checked.problems) == len(found) == 10
    assert [utterance.id for utterance in checked.utterances] == [ids[9]]
    for index, what, file in [
        (0, "cannot be decoded|truncated", flacs[0].name),
        (1, "sampling rate 8000 Hz, not 16000 Hz", flacs[1].name),
        (2, "2 channels, not 1", flacs[2].name),
        (3, "audio has no transcript line", flacs[3].name),
        (4, "transcript is empty", "trans.txt:4"),
        (5, "not UTF-8 \\(byte 21 of the line\\)", "trans.txt:5"),
        (6, "the utterance id is in 2 places", f"999999/{flacs[6].name}"),
        (7, "2 transcript lines for one utterance", "trans.txt:7 and "),
        (8, "cannot be decoded", flacs[8].name),
    ]:
        problem = found[ids[index]]
        with pytest.raises(AssertionError, match=what):
            raise AssertionError(problem.what)
        assert file in problem.file
        assert problem.remedy and "\n" not in str(problem)
    assert "no audio file" in found[f"{SPEAKER}-{CHAPTER}-9999"].what
    report = str(BadDataError(checked.problems))
    assert report.startswith("10 problems in the data (--skip_bad leaves these utterances out):")
    assert len(report.splitlines()) == 11
    assert all(name in report for name in found)


def test_what_is_not_wanted_is_not_checked(real_chapter):
    """Nobody should wait for 100 hours to be decoded for the sake of four speakers."""
    flacs = sorted(real_chapter.glob("*.flac"))
    flacs[0].write_bytes(b"")
    flacs[1].write_bytes(b"")
    edit(real_chapter, lambda lines: [*lines[:2], lines[2].split()[0], *lines[3:]])
    wanted = {path.stem for path in flacs[1:2] + flacs[5:]}
    checked = check_corpus(
        real_chapter.parents[2], ["test-other"], wanted=lambda part, name: name in wanted
    )
    assert [problem.utterance for problem in checked.problems] == [flacs[1].stem]
    assert [utterance.id for utterance in checked.utterances] == [p.stem for p in flacs[5:]]
    assert checked.seen == {"test-other": {path.stem for path in flacs}}


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.7, 0.95, 0.999])
def test_truncation_is_found_wherever_it_is(real_chapter, keep):
    path = sorted(real_chapter.glob("*.flac"))[2]
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    checked = check(real_chapter)
    assert [problem.utterance for problem in checked.problems] == [path.stem]
    assert len(checked.utterances) == 9


def test_a_file_under_the_wrong_speaker_is_found(real_chapter):
    flac = sorted(real_chapter.glob("*.flac"))[0]
    moved = real_chapter.parents[1] / "77" / CHAPTER
    moved.mkdir(parents=True)
    shutil.move(flac, moved / flac.name)
    checked = check(real_chapter)
    assert [problem.what for problem in checked.problems] == [
        "the id is not <speaker>-<chapter>-<number> of its directories"
    ]


def test_an_id_in_two_parts_is_found(real_chapter):
    corpus = real_chapter.parents[2]
    shutil.copytree(corpus / "test-other", corpus / "dev-other")
    checked = check_corpus(corpus, ["test-other", "dev-other"])
    assert checked.utterances == []
    assert {problem.what for problem in checked.problems} == {
        "2 transcript lines for one utterance",
        "the utterance id is in 2 places",
    }


def test_odd_spaces_become_plain_ones(real_chapter):
    edit(real_chapter, lambda lines: [line.replace(b" ", b" \t ") + b"  " for line in lines])
    for utterance in check(real_chapter).utterances:
        assert utterance.text == " ".join(utterance.text.split())


def test_absent_part_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="dev-other: no \\*.trans.txt"):
        check_corpus(tmp_path, ["dev-other"])


def test_problem_reads_as_one_line():
    problem = Problem("1-2-3", "a.flac", "truncated", "fetch it")
    assert str(problem) == "1-2-3: truncated [a.flac]; fetch it"
