"""Lattices on disk: one file per batch, an index by utterance, readable one at a time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional, Sequence, Tuple

import torch

from espnet_plugin.atomic import PathLike, atomic_path, write_json
from espnet_plugin.compat import require_k2, torch_load
from espnet_plugin.decode.lattice import Lattices

if TYPE_CHECKING:
    import k2

Place = Optional[Tuple[str, int]]


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha1("\n".join(names).encode()).hexdigest()[:16]


class LatticeWriter:
    """Write the lattices of one job; several jobs may share the directory.

    ``lattices-<digest>.pt`` holds ``Fsa.as_dict()`` of one batch (on the CPU) and the names of
    its utterances in order. ``index-<digest>.json`` maps every utterance of the job to
    ``[file, position]``, or to null if its search found no path. The digests are of utterance
    names, so a job that is run again replaces its own files.
    """

    def __init__(self, directory: PathLike) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.index: Dict[str, Place] = {}

    def write(self, names: Sequence[str], lattices: Lattices) -> Dict[str, Place]:
        """Store one batch; give the places of its utterances (also kept for the index).

        Args:
            names: the names of all utterances of the batch, in its order.
            lattices: what :func:`espnet_plugin.decode.find_lattices` gave for the batch.
        """
        places: Dict[str, Place] = {name: None for name in names}
        if lattices.fsa is not None:
            stored = [names[i] for i in lattices.utterances]
            file = f"lattices-{_digest(stored)}.pt"
            with atomic_path(self.directory / file) as temporary:
                value = {"utterances": stored, "lattices": lattices.fsa.to("cpu").as_dict()}
                torch.save(value, temporary)
            places.update({name: (file, row) for row, name in enumerate(stored)})
        self.index.update(places)
        return places

    def close(self) -> None:
        """Write the index."""
        write_json(self.directory / f"index-{_digest(list(self.index))}.json", self.index)


def load_lattice(directory: PathLike, utterance: str) -> k2.Fsa:
    """Read one utterance's lattice: an FsaVec of one, on the CPU.

    Where several jobs stored one, the last counts: the set may have been decoded before, in other
    jobs.

    Raises:
        KeyError: if the directory has no such utterance, or its search found no path.
    """
    k2 = require_k2()
    directory = Path(directory)
    by_age = sorted(directory.glob("index-*.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in reversed(by_age):
        index = json.loads(path.read_text(encoding="utf-8"))
        if utterance in index:
            break
    else:
        raise KeyError(f"no lattice of {utterance} in {directory}")
    place = index[utterance]
    if place is None:
        raise KeyError(f"{utterance} has no lattice in {directory}: its search found no path")
    file, row = place
    fsa = k2.Fsa.from_dict(torch_load(directory / file)["lattices"])
    return k2.index_fsa(fsa, torch.tensor([row], dtype=torch.int32))
