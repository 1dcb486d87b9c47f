"""Files and folders appear whole, or what was there before stays."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from espnet_plugin.atomic import atomic_dir, atomic_open, atomic_path, locked, write_json


def entries(folder: Path) -> list:
    return sorted(path.name for path in folder.iterdir())


def test_path_is_renamed_on_success(tmp_path):
    target = tmp_path / "new" / "folders" / "figure.tar.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffixes == target.suffixes
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert entries(target.parent) == ["figure.tar.gz"]


def test_path_stays_as_it_was_on_an_exception(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(KeyError):
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyError("interrupted")
    assert target.read_text() == "before"
    assert entries(tmp_path) == ["a.txt"]


def test_path_that_nobody_wrote_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        with atomic_path(tmp_path / "a.txt"):
            pass
    assert entries(tmp_path) == []


def write_half_and_die(target: Path) -> None:
    with atomic_open(target) as stream:
        stream.write("half")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def test_open_survives_a_killed_process(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("before")
    process = multiprocessing.get_context("fork").Process(target=write_half_and_die, args=(target,))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert target.read_text() == "before"


def test_open_writes_utf8_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    with atomic_open(tmp_path / "a.txt") as stream:
        stream.write("Grüße\n")
    assert (tmp_path / "a.txt").read_bytes() == "Grüße\n".encode()


def test_open_in_binary_mode(tmp_path):
    with atomic_open(tmp_path / "a.bin", "wb") as stream:
        stream.write(b"\xff\x00")
    assert (tmp_path / "a.bin").read_bytes() == b"\xff\x00"


@pytest.mark.parametrize("mode", ["r", "a", "r+b"])
def test_open_refuses_modes_that_are_not_whole_files(tmp_path, mode):
    with pytest.raises(ValueError, match="whole files"):
        with atomic_open(tmp_path / "a.txt", mode):
            pass
    assert entries(tmp_path) == []


def test_dir_replaces_what_was_there_as_a_whole(tmp_path):
    target = tmp_path / "train"
    target.mkdir()
    (target / "old").write_text("old")
    with atomic_dir(target) as temporary:
        (temporary / "text").write_text("new")
        assert entries(target) == ["old"]
    assert entries(target) == ["text"]
    assert entries(tmp_path) == ["train"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_dir_is_made_with_its_parents(tmp_path):
    with atomic_dir(tmp_path / "data" / "train") as temporary:
        (temporary / "text").write_text("new")
    assert entries(tmp_path / "data") == ["train"]


def test_dir_stays_as_it_was_on_an_exception(tmp_path):
    target = tmp_path / "train"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(RuntimeError):
        with atomic_dir(target) as temporary:
            (temporary / "text").write_text("half")
            raise RuntimeError("interrupted")
    assert entries(target) == ["old"]
    assert entries(tmp_path) == ["train"]


def test_json_round_trip_keeps_letters_readable(tmp_path):
    value = {"word": "Grüße", "values": [1, 0.5, None], "nested": {"a": True}}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "Grüße" in text and text.endswith("}\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_json_cannot_hold(tmp_path, number):
    write_json(tmp_path / "a.json", {"before": 1})
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"loss": number})
    assert json.loads((tmp_path / "a.json").read_text()) == {"before": 1}
    assert entries(tmp_path) == ["a.json"]


def test_a_directory_comes_back_if_the_new_one_cannot_take_its_place(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_text("old")
    with pytest.raises(FileNotFoundError):
        with atomic_dir(tmp_path / "d") as temporary:
            temporary.rmdir()  # so that the last rename fails
    assert (tmp_path / "d" / "old").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def count_up(file: Path) -> None:
    for _ in range(50):
        with locked(file.parent):
            file.write_text(str(int(file.read_text()) + 1))


def test_a_locked_directory_is_for_one_process_at_a_time(tmp_path):
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=count_up, args=(tmp_path / "count",)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "count").read_text() == "200"
    assert entries(tmp_path) == ["count"]
