"""One decoding as several processes at a time, each with a part of the utterances.

The parts are processes of ``bin.asr_inference_k2`` with ``--part``: they leave their journals in
``<output_dir>/.jobs/``, and when all have ended the result files are written from them. The same
command given again goes on with what is not done.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.decode.journal import read_entries
from espnet_plugin.decode.results import JOURNAL

FOLDER = ".jobs"
logger = logging.getLogger(__name__)


class JobError(RuntimeError):
    """A part that failed; the message names its log and ends with its last line."""


def run_parts(
    command: Sequence[str], names: Sequence[str], output_dir: PathLike, jobs: int
) -> List[Dict[str, Any]]:
    """Run a command once for each part of ``names``, all at the same time.

    Args:
        command: it is given ``--key_file`` and ``--output_dir`` of the part besides.
        names: the utterances; every ``jobs``-th goes to the same part.
        output_dir: the parts work in ``.jobs`` below it.
        jobs: how many parts. They divide the processor's cores between them, unless
            ``OMP_NUM_THREADS`` says how many threads each has.

    Returns:
        The entries of all journals.

    Raises:
        JobError: a part failed; the others are ended, and what is done is kept.
    """
    parts = [names[i::jobs] for i in range(jobs) if names[i::jobs]]
    cores = len(os.sched_getaffinity(0))
    environment = {"OMP_NUM_THREADS": str(max(1, cores // len(parts))), **os.environ}
    running: List[subprocess.Popen[bytes]] = []
    folders = []
    try:
        for i, part in enumerate(parts):
            folder = Path(output_dir) / FOLDER / f"{i + 1}of{len(parts)}"
            with atomic_open(folder / "keys") as stream:
                stream.writelines(f"{name}\n" for name in part)
            options = ["--key_file", str(folder / "keys"), "--output_dir", str(folder)]
            with open(folder / "log", "wb") as log:
                process = subprocess.Popen(
                    [*command, *options], env=environment, stdout=log, stderr=subprocess.STDOUT
                )
            running.append(process)
            folders.append(folder)
        _wait(running, folders, len(names))
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    return [entry for folder in folders for entry in read_entries(folder / JOURNAL)]


def _cause(folder: Path) -> str:
    lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    own = [line for line in lines if line.startswith("asr_inference_k2: ")]  # warnings may follow
    return (own or lines or ["it said nothing"])[-1]


def _wait(running: Sequence[subprocess.Popen[bytes]], folders: Sequence[Path], total: int) -> None:
    start = last = time.monotonic()
    while True:
        codes = [process.poll() for process in running]
        for folder, code in zip(folders, codes, strict=True):
            if code:
                raise JobError(f"{folder / 'log'}: the job failed: {_cause(folder)}")
        if all(code == 0 for code in codes):
            return
        if time.monotonic() - last >= 60.0:
            last = time.monotonic()
            done = sum(_done(folder) for folder in folders)
            logger.info("%d of %d utterances after %.0f s", done, total, last - start)
        time.sleep(0.1)


def _done(folder: Path) -> int:
    return sum(len(entry.get("results", ())) for entry in read_entries(folder / JOURNAL))


def decoding_command(options: Sequence[str]) -> List[str]:
    """The command of a part, to which :func:`run_parts` adds what is the part's own."""
    return [
        sys.executable, "-m", "espnet_plugin.bin.asr_inference_k2", *options, "--nj", "1", "--part",
    ]  # fmt: skip
