"""Files of torch.save are read as torch.load reads them, tensor by tensor."""

from __future__ import annotations

import pickle
import zipfile

import pytest
import torch

from espnet_plugin.stacks.files.inert import Name
from espnet_plugin.stacks.files.stored import TYPES, FileError, Storage, StoredTensor
from espnet_plugin.stacks.files.torch_file import read_torch_file


def tensors() -> dict:
    """One of every kind that checkpoints have."""
    torch.manual_seed(0)
    values = torch.randn(6, 5)
    kinds = {name: (values * 10).to(dtype) for name, dtype in TYPES.items() if dtype != torch.uint8}
    flat = torch.arange(40.0)
    return {
        **kinds,
        "uint8": (values * 10).abs().to(torch.uint8),
        "transposed": values.t(),
        "part": values[1:3, 2:4],
        "first": flat[:10].view(2, 5),
        "second": flat[10:].view(5, 6),
        "expanded": torch.tensor([3.0]).expand(4, 2),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(values),
    }


@pytest.fixture(params=[False, True], ids=["zip", "old"])
def save(request, tmp_path):
    def write(content):
        path = tmp_path / "file.pt"
        torch.save(content, path, _use_new_zipfile_serialization=not request.param)
        return path

    return write


def test_tensors_of_every_kind(save):
    expected = tensors()
    content = read_torch_file(save(expected))
    assert content.keys() == expected.keys()
    for name, value in expected.items():
        loaded = content[name].load()
        assert content[name].shape == tuple(value.shape)
        assert loaded.dtype == value.dtype and torch.equal(loaded, value), name


def test_a_view_reads_no_more_than_itself(save):
    flat = torch.arange(1000.0)
    loaded = read_torch_file(save({"a": flat[500:510]}))["a"].load()
    assert torch.equal(loaded, flat[500:510])
    assert loaded.storage().nbytes() == 40


def test_rows(save):
    values = torch.arange(12.0).view(6, 2)
    stored = read_torch_file(save({"a": values}))["a"]
    assert torch.equal(stored.rows(2, 5).load(), values[2:5])
    with pytest.raises(FileError, match="impossible shape"):
        stored.rows(2, 7)


def test_shapes_that_reach_beyond_the_data(tmp_path):
    storage = Storage(tmp_path / "none", torch.float32, 40, 0)
    StoredTensor(storage, 0, (10,), (1,), torch.float32)
    for offset, shape, stride in (
        (1, (10,), (1,)),
        (0, (2, 10), (1, 1)),
        (0, (4,), (4,)),
        (-1, (4,), (1,)),
        (0, (4,), (-1,)),
        (0, (4, 1), (1,)),
        (0, (4.0,), (1,)),
        (0, (True,), (1,)),
        (0, (1 << 70,), (1,)),
    ):
        with pytest.raises(FileError, match="a tensor"):
            StoredTensor(storage, offset, shape, stride, torch.float32)
    with pytest.raises(FileError, match="a tensor"):
        StoredTensor(storage, 0, (10,), (1,), torch.float64)


def test_files_that_end_too_early(save):
    """Wherever a file is cut, it is refused, before or while its tensors are read."""
    path = save({"a": torch.randn(300), "b": [torch.randn(200)] * 2})
    content = path.read_bytes()
    for size in [0, 1, 4, 30, *range(60, len(content), len(content) // 23)]:
        path.write_bytes(content[:size])
        with pytest.raises(FileError):
            loaded = read_torch_file(path)
            loaded["a"].load(), loaded["b"][0].load()


def test_damaged_bytes_are_refused_or_read(save):
    """No damage to the pickle does anything else than a FileError."""
    path = save({"a": torch.randn(3), "b": {"c": [1, "text", (2.5, None)]}})
    content = path.read_bytes()
    start = content.index(b"\x80\x02")
    for place in range(start, start + 150):
        for change in (0x00, 0x28, 0x52, 0xFF):
            path.write_bytes(content[:place] + bytes([change]) + content[place + 1 :])
            try:
                loaded = read_torch_file(path)
                if isinstance(loaded, dict) and isinstance(loaded.get("a"), StoredTensor):
                    loaded["a"].load()
            except FileError as error:
                assert "\n" not in str(error)


def test_other_files(tmp_path):
    path = tmp_path / "file.pt"
    for content, said in (
        (b"", "empty"),
        (b"text\n", "no file of torch.save"),
        (pickle.dumps({"a": 1}), "a pickle, but none of torch.save"),
        (b"PK\x03\x04" + b"0" * 100, "ends too early"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileError, match=said):
            read_torch_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(FileError, match="a zip file, but none of torch.save"):
        read_torch_file(path)


def repacked(source, target, change):
    """``source`` with ``change(name, content) -> content`` for each entry; None drops it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)


def test_zip_archives_that_were_changed(tmp_path):
    path, target = tmp_path / "file.pt", tmp_path / "changed.pt"
    torch.save({"a": torch.arange(5.0)}, path)
    repacked(path, target, lambda name, content: content)
    assert torch.equal(read_torch_file(target)["a"].load(), torch.arange(5.0))
    repacked(path, target, lambda name, content: None if "data/" in name else content)
    with pytest.raises(FileError, match="are not there"):
        read_torch_file(target)
    repacked(path, target, lambda name, content: content[:8] if "data/" in name else content)
    with pytest.raises(FileError, match="are not there"):
        read_torch_file(target)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps("a" * 100))
    with pytest.raises(FileError, match="compressed"):
        read_torch_file(target)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps("a"))
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(FileError, match="big-endian"):
        read_torch_file(target)


def test_tensors_of_kinds_that_no_model_has(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"a": torch.randn(3, dtype=torch.complex64)}, path)
    with pytest.raises(FileError, match="unknown kind"):
        read_torch_file(path)


def test_names_stay_names(tmp_path):
    torch.save({"a": torch.float32, "b": torch.nn.Linear}, tmp_path / "file.pt")
    content = read_torch_file(tmp_path / "file.pt")
    assert content["b"] == Name("torch.nn.modules.linear", "Linear")
