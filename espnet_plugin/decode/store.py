"""Lattices on disk: one file per batch, an index by utterance, what labels mean beside it.

A store is a directory::

    meta.json              names of tokens and words, seconds per frame, scales
    index-<digest>.json    of one job: utterance -> [file, position], null if it has no lattice
    lattices-<digest>.pt   of one batch: its utterances, and their FsaVec as a dict of tensors

Several jobs may share a store. The digests are of utterance names, so a job that is run again
replaces its own files.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch

from espnet_plugin.atomic import PathLike, atomic_path, locked, write_json
from espnet_plugin.compat import require_k2, torch_load
from espnet_plugin.decode.lattice import Lattices

if TYPE_CHECKING:
    import k2

Place = Optional[Tuple[str, int]]
logger = logging.getLogger(__name__)


class LatticeWriter:
    """Write the lattices of one job.

    Args:
        directory: the store. What another decoding (with another ``meta``) left there is
            removed, as its labels mean something else.
        meta: ``kind`` (H, HL, HLG), ``tokens``, ``words`` (None for H), ``seconds_per_frame``
            (None if not known) and ``scales``, as the decoder gives it.
    """

    def __init__(self, directory: PathLike, meta: Optional[Dict[str, Any]] = None) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.index: Dict[str, Place] = {}
        with locked(self.directory):  # several jobs may begin at once
            self._begin(meta or {})

    def _begin(self, meta: Dict[str, Any]) -> None:
        file = self.directory / "meta.json"
        known = read_meta(self.directory) if file.is_file() else None
        if known != meta:
            stale = [*self.directory.glob("index-*.json"), *self.directory.glob("lattices-*.pt")]
            if stale:
                logger.warning("%s: lattices of another decoding are removed", self.directory)
            for path in stale:
                path.unlink(missing_ok=True)
            write_json(file, meta)

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
        """Write the index; remove files that no index names any more.

        These are the batches of an earlier run of this job that had other batches, and indexes
        of earlier jobs whose utterances are all in this one.
        """
        own = self.directory / f"index-{_digest(list(self.index))}.json"
        before = _files(own)
        write_json(own, self.index)
        for path in self.directory.glob("index-*.json"):
            if path != own and set(_read_index(path)) <= set(self.index):
                before |= _files(path)
                path.unlink(missing_ok=True)
        named = set().union(*(_files(path) for path in self.directory.glob("index-*.json")))
        for file in before - named:
            (self.directory / file).unlink(missing_ok=True)


class LatticeStore:
    """Read a store.

    Where several jobs stored an utterance, the last counts.

    Args:
        directory: what :class:`LatticeWriter` wrote.

    Attributes:
        meta: what labels mean: see :class:`LatticeWriter`.
        places: of every utterance; None if its search found no path.

    Raises:
        FileNotFoundError: if there are no lattices.
        ValueError: if ``meta.json`` or an index is damaged.
    """

    def __init__(self, directory: PathLike) -> None:
        self.directory = Path(directory)
        indexes = sorted(self.directory.glob("index-*.json"), key=lambda p: p.stat().st_mtime_ns)
        if not indexes:
            raise FileNotFoundError(f"{directory}: no lattices here (no index-*.json)")
        self.meta = read_meta(self.directory)
        self.places: Dict[str, Place] = {}
        for path in indexes:
            self.places.update(_read_index(path))

    @property
    def utterances(self) -> List[str]:
        """All names, those without a lattice too."""
        return list(self.places)

    def batches(self, names: Optional[Sequence[str]] = None) -> Iterator[Tuple[List[str], k2.Fsa]]:
        """Yield (names, FsaVec on the CPU), one stored batch at a time.

        Args:
            names: only these; all if None. Those without a lattice are left out.
        """
        files: Dict[str, List[Tuple[str, int]]] = {}
        for name in self.places if names is None else names:
            place = self.places.get(name)
            if place is not None:
                files.setdefault(place[0], []).append((name, place[1]))
        for file, wanted in files.items():
            fsa, rows = self._read(file), [row for _, row in wanted]
            if rows != list(range(fsa.shape[0])):
                fsa = require_k2().index_fsa(fsa, torch.tensor(rows, dtype=torch.int32))
            yield [name for name, _ in wanted], fsa

    def load(self, utterance: str) -> k2.Fsa:
        """One utterance's lattice: an FsaVec of one, on the CPU.

        Raises:
            KeyError: if the store has no such utterance, or its search found no path.
        """
        if utterance not in self.places:
            raise KeyError(f"no lattice of {utterance} in {self.directory}")
        place = self.places[utterance]
        if place is None:
            raise KeyError(
                f"{utterance} has no lattice in {self.directory}: its search found no path"
            )
        row = torch.tensor([place[1]], dtype=torch.int32)
        return require_k2().index_fsa(self._read(place[0]), row)

    def _read(self, file: str) -> k2.Fsa:
        return require_k2().Fsa.from_dict(torch_load(self.directory / file)["lattices"])


def read_meta(directory: PathLike) -> Dict[str, Any]:
    """``meta.json`` of a store; empty if it has none.

    Raises:
        ValueError: it is damaged.
    """
    file = Path(directory) / "meta.json"
    return _read_json(file) if file.is_file() else {}


def load_lattice(directory: PathLike, utterance: str) -> k2.Fsa:
    """One stored lattice, as :meth:`LatticeStore.load`."""
    return LatticeStore(directory).load(utterance)


def iter_lattices(directory: PathLike) -> Iterator[Tuple[str, k2.Fsa]]:
    """Yield (utterance, FsaVec of one on the CPU) of a store; each file is read once."""
    k2 = require_k2()
    for names, fsa in LatticeStore(directory).batches():
        for row, name in enumerate(names):
            yield name, k2.index_fsa(fsa, torch.tensor([row], dtype=torch.int32))


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha1("\n".join(names).encode()).hexdigest()[:16]


def _read_index(path: Path) -> Dict[str, Place]:
    if not path.is_file():
        return {}
    return {name: tuple(place) if place else None for name, place in _read_json(path).items()}


def _read_json(path: Path) -> Dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged: {error}") from None


def _files(index: Path) -> set[str]:
    return {place[0] for place in _read_index(index).values() if place is not None}
