"""Files of ``torch.save``: the zip format of torch 1.6 and later, and the one before it."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import IO, Any, Dict, Tuple

from espnet_plugin.stacks.files.inert import Name, read_pickle
from espnet_plugin.stacks.files.stored import STORAGES, FileError, Storage, item_size

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")


def read_torch_file(path: Path) -> Any:
    """The object in a file of ``torch.save``; its tensors are read when asked for.

    Nothing in the file can run: see :mod:`espnet_plugin.stacks.files.inert`.

    Raises:
        FileError: another kind of file, a damaged one, a TorchScript archive.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as stream:
        head = stream.read(4)
        stream.seek(0)
        if head == b"PK\x03\x04":
            return _read_zip(path, stream)
        if not head:
            raise FileError("it is empty; copy or download it again")
        if head[:1] != b"\x80":
            raise FileError("it is no file of torch.save")
        return _read_old(path, stream)


def _read_zip(path: Path, stream: IO[bytes]) -> Any:
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise FileError("it ends too early; copy or download it again") from error
    entries = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise FileError("it is a zip file, but none of torch.save")
    folder = pickles[0][: -len("data.pkl")]
    if folder + "constants.pkl" in entries:
        raise FileError("it is a TorchScript archive, which is code; save the state_dict instead")
    if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
        raise FileError("it is compressed, unlike files of torch.save; unpack it first")
    order = folder + "byteorder"
    if order in entries and archive.read(order) != b"little":
        raise FileError("it was written by a big-endian machine")

    storages: Dict[str, Storage] = {}

    def storage(pid: Tuple[Any, ...]) -> Storage:
        dtype, key, size = _describe(pid)
        if key not in storages:
            info = entries.get(f"{folder}data/{key}")
            if info is None or info.file_size < size:
                raise FileError("it is damaged (the data of a tensor are not there)")
            start = _data_start(stream, info.header_offset)
            storages[key] = Storage(path, dtype, size, start)
        return storages[key]

    try:
        content = archive.read(pickles[0])
    except (zipfile.BadZipFile, EOFError) as error:
        raise FileError("it is damaged; copy or download it again") from error
    return read_pickle(io.BytesIO(content), storage)


def _data_start(stream: IO[bytes], header: int) -> int:
    """Where the data of a zip entry begin: behind its header, name and extra field."""
    stream.seek(header)
    fields = stream.read(_LOCAL_HEADER.size)
    if len(fields) < _LOCAL_HEADER.size:
        raise FileError("it is damaged; copy or download it again")
    name, extra = _LOCAL_HEADER.unpack(fields)[-2:]
    return header + _LOCAL_HEADER.size + name + extra


def _read_old(path: Path, stream: IO[bytes]) -> Any:
    """Four pickles (a mark, a version, the machine, the object), then the data of the tensors."""
    storages: Dict[str, Storage] = {}

    def storage(pid: Tuple[Any, ...]) -> Storage:
        dtype, key, size = _describe(pid)
        if pid[5:] != (None,):
            raise FileError("it is of a kind from before torch 0.4")
        return storages.setdefault(key, Storage(path, dtype, size))

    def nothing(pid: Tuple[Any, ...]) -> Storage:
        raise FileError("it is damaged (a tensor where none belongs)")

    if read_pickle(stream, nothing) != _MAGIC or read_pickle(stream, nothing) != _PROTOCOL:
        raise FileError("it is a pickle, but none of torch.save")
    machine = read_pickle(stream, nothing)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise FileError("it was written by a big-endian machine")
    content = read_pickle(stream, storage)
    keys = read_pickle(stream, nothing)
    length = os.fstat(stream.fileno()).st_size
    position = stream.tell()
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in storages:
            raise FileError("it is damaged (data of no tensor)")
        storages[key].start = position + 8
        position += 8 + storages[key].size
    if position > length:
        raise FileError("it ends too early; copy or download it again")
    return content


def _describe(pid: Tuple[Any, ...]) -> Tuple[Any, str, int]:
    """Type, key and size in bytes of the storage that a persistent id names."""
    if len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], Name):
        raise FileError("it is damaged (an unknown persistent id)")
    kind, key, elements = pid[1].name, pid[2], pid[4]
    if kind not in STORAGES or not isinstance(key, str) or type(elements) is not int:
        raise FileError(f"it has tensors of an unknown kind ({kind})")
    if elements < 0:
        raise FileError("it is damaged (a tensor of impossible size)")
    return STORAGES[kind], key, elements * item_size(STORAGES[kind])
