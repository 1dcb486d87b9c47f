"""A few real recordings as a Kaldi directory."""

from __future__ import annotations

from pathlib import Path


def shortest_recordings(librispeech_root: Path, folder: Path, count: int) -> Path:
    """``folder`` with a wav.scp of the shortest recordings of test-other, shortest first."""
    paths = sorted((librispeech_root / "test-other").rglob("*.flac"))
    paths = sorted(paths, key=lambda p: p.stat().st_size)[:count]
    (folder / "wav.scp").write_text("".join(f"{p.stem} {p}\n" for p in paths))
    return folder
