"""An analysis in parts: what is measured so far, in a file, so that jobs are killed, go on, merge.

Batches are planned once for the whole data set and a shard takes every n-th whole batch, so each
value is computed by the same kernels on the same shapes in any number of shards.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import torch

from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.compat import torch_load
from espnet_plugin.progress import progress
from espnet_plugin.stacks.batches import DataError, Utterance, read_batch

logger = logging.getLogger(__name__)

FORMAT = "espnet_plugin analysis shard 1"

Identity = Mapping[str, Any]
"""What the result of an analysis depends on, as plain JSON values by name."""


def shards_dir(out: PathLike) -> Path:
    """Where the shards of an analysis are kept until its results are written."""
    return Path(out) / ".shards"


def shard_path(out: PathLike, shard: int, num_shards: int) -> Path:
    """The file of a shard; shards count from 1."""
    return shards_dir(out) / f"{shard}-of-{num_shards}.pt"


def run_shard(
    run: Pass,
    batches: Sequence[List[Utterance]],
    out: PathLike,
    identity: Identity,
    shard: int = 1,
    num_shards: int = 1,
    save_seconds: float = 60.0,
) -> None:
    """Measure one shard, or what is left of it.

    What was measured is written about once in ``save_seconds``, and at the end; a shard that was
    killed goes on from there, one of another analysis is begun anew.

    Args:
        run: fresh.
        batches: all of the data set.
        out: the directory of the analysis.
        identity: what the result depends on.
        shard, num_shards: which part; from 1.

    Raises:
        ValueError: as :meth:`Pass.update`; a shard that is not there.
    """
    if not 1 <= shard <= num_shards:
        raise ValueError(f"--shard must be from 1 to {num_shards}, not {shard}")
    path = shard_path(out, shard, num_shards)
    mine = batches[shard - 1 :: num_shards]
    done = _go_on(run, path, identity)
    if done:
        logger.info("%s: %d of %d batches are done already", path, done, len(mine))
    saved = time.monotonic()
    what = "analyse" if num_shards == 1 else f"analyse shard {shard} of {num_shards}"
    for batch in progress(mine[done:], f"{what} (batches)"):
        run.update(read_batch(batch))
        done += 1
        if time.monotonic() - saved >= save_seconds and done < len(mine):
            _save(run, path, identity, done)
            saved = time.monotonic()
    _save(run, path, identity, done)


def merge_shards(
    fresh: Callable[[], Pass],
    batches: Sequence[List[Utterance]],
    out: PathLike,
    identity: Identity,
    num_shards: Optional[int] = None,
) -> Pass:
    """Everything that the shards of an analysis have measured.

    Args:
        fresh: makes a pass that has seen nothing.
        batches, out, identity: as for :func:`run_shard`.
        num_shards: None: as many as the files there say.

    Raises:
        DataError: shards are missing, not finished, damaged, or of another analysis: one line that
            names them.
    """
    count = num_shards or _count(out)
    paths = [shard_path(out, shard, count) for shard in range(1, count + 1)]
    missing = [str(n) for n, path in enumerate(paths, 1) if not path.is_file()]
    if missing:
        raise DataError(
            f"{shards_dir(out)}: of {count} shards there is no {', no '.join(missing)}; "
            "run what is missing first"
        )
    merged = fresh()
    for shard, path in enumerate(paths, 1):
        content = _read(path)
        other = _difference(content["identity"], identity)
        if other is not None:
            raise DataError(
                f"{path}: a shard of another analysis ({other} differs); run shard {shard} again"
            )
        wanted = len(batches[shard - 1 :: count])
        if content["done"] != wanted:
            raise DataError(
                f"{path}: not finished ({content['done']} of {wanted} batches); run it again"
            )
        part = fresh()
        part.load_state_dict(content["pass"])
        merged.merge(part)
    return merged


def remove_shards(out: PathLike) -> None:
    """Take the files of shards away, once their results are written."""
    shutil.rmtree(shards_dir(out), ignore_errors=True)


def _go_on(run: Pass, path: Path, identity: Identity) -> int:
    """How many batches were done before; they are in ``run`` then."""
    if not path.is_file():
        return 0
    try:
        content = _read(path)
    except DataError as error:
        logger.warning("%s; it is begun anew", error)
        return 0
    other = _difference(content["identity"], identity)
    if other is not None:
        logger.warning("%s: of another analysis (%s differs); it is begun anew", path, other)
        return 0
    run.load_state_dict(content["pass"])
    return int(content["done"])


def _save(run: Pass, path: Path, identity: Identity, done: int) -> None:
    content = {
        "format": FORMAT,
        "identity": json.dumps(identity),  # torch 1.13 reads no floats beside tensors
        "done": done,
        "pass": run.state_dict(),
    }
    with atomic_open(path, "wb") as stream:
        torch.save(content, stream)


def _read(path: Path) -> Dict[str, Any]:
    try:
        content = torch_load(path)
    except ValueError as error:
        raise DataError(str(error)) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: not a shard of an analysis of this version")
    return {**content, "identity": json.loads(content["identity"])}


def _difference(theirs: Identity, ours: Identity) -> Optional[str]:
    """The first key in which two identities differ."""
    ours = json.loads(json.dumps(ours))
    keys = [key for key in {**ours, **theirs} if theirs.get(key) != ours.get(key)]
    return keys[0] if keys else None


def _count(out: PathLike) -> int:
    found = (re.fullmatch(r"\d+-of-(\d+)\.pt", path.name) for path in shards_dir(out).glob("*"))
    counts = sorted({int(match[1]) for match in found if match})
    if len(counts) != 1:
        listed = f"of {' and of '.join(map(str, counts))}" if counts else "none"
        raise DataError(f"{shards_dir(out)}: shards to merge: {listed}; give --num_shards")
    return counts[0]
