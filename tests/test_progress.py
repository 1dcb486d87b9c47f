"""Progress yields every item once, whatever it shows."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from espnet_plugin.progress import progress


class Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self) -> bool:
        return True


def test_log_lines_count_and_name_the_work(caplog):
    with caplog.at_level(logging.INFO, logger="espnet_plugin.progress"):
        assert list(progress("abc", "decode test", seconds=0.0)) == ["a", "b", "c"]
    counts = [record.getMessage().split(" after ")[0] for record in caplog.records]
    assert counts == ["decode test: 1/3", "decode test: 2/3", "decode test: 3/3"]


def test_short_work_logs_nothing(caplog):
    with caplog.at_level(logging.INFO, logger="espnet_plugin.progress"):
        assert list(progress(range(1000), "add")) == list(range(1000))
    assert caplog.records == []


def test_generators_have_no_total_unless_told(caplog):
    with caplog.at_level(logging.INFO, logger="espnet_plugin.progress"):
        list(progress((n for n in range(2)), "read", seconds=0.0))
        list(progress((n for n in range(2)), "read", total=2, seconds=0.0))
    counts = [record.getMessage().split(" after ")[0] for record in caplog.records]
    assert counts == ["read: 1", "read: 2", "read: 1/2", "read: 2/2"]


def test_terminal_shows_a_bar_and_no_log_line(monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, logger="espnet_plugin.progress"):
        assert list(progress([1, 2, 3, 4], "decode test", seconds=0.0)) == [1, 2, 3, 4]
    assert "decode test: 100%" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert caplog.records == []


def test_items_are_taken_one_at_a_time():
    taken = []

    def source():
        for n in range(3):
            taken.append(n)
            yield n

    items = progress(source(), "read")
    assert taken == []
    assert next(items) == 0
    assert taken == [0]


def test_an_exception_of_the_items_comes_through():
    def broken():
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(progress(broken(), "read"))
