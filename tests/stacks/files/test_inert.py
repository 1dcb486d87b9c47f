"""Nothing in a file can run; what it holds beside tensors and plain values is inert."""

from __future__ import annotations

import builtins
import copyreg
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.files.inert import Name, Record, read_pickle
from espnet_plugin.stacks.files.stored import FileError
from espnet_plugin.stacks.files.torch_file import read_torch_file
from espnet_plugin.stacks.load import load_stack


class Calls:
    """Pickles as a call of ``function`` with ``args``, and ``state`` for what it returns."""

    def __init__(self, function: Any, *args: Any, state: Any = None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.reduced


class Witness:
    """Leaves a file behind when it is made, filled or asked for anything."""

    path = Path("unset")

    def __new__(cls, *args: Any) -> Witness:
        Witness.path.touch()
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        Witness.path.touch()

    def __setitem__(self, key: Any, value: Any) -> None:
        Witness.path.touch()

    append = extend = add = __setitem__

    def __reduce_ex__(self, protocol: Any) -> Any:
        return copyreg.__newobj__, (Witness, 1), {"a": 1}, iter([1, 2]), iter([(1, 2)])


def apply_to(function: Any, *args: Any) -> Any:
    """A function of a module that is imported already."""
    return function(*args)


def attacks(marker: Path) -> dict:
    """Objects whose unpickling by Python would create ``marker``, or change the process."""
    touch = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w').close()"
    witness = object.__new__(Witness)
    Witness.path = marker
    return {
        "os.system": Calls(os.system, touch),
        "eval": Calls(builtins.eval, code),
        "exec": Calls(builtins.exec, code),
        "subprocess": Calls(subprocess.check_call, ["touch", str(marker)]),
        "open": Calls(open, str(marker), "w"),
        "getattr": Calls(apply_to, Calls(getattr, Calls(__import__, "os"), "system"), touch),
        "nested": Calls(list, Calls(map, os.system, [touch])),
        "arguments": Calls(list, (Calls(os.system, touch),)),
        "state": Calls(OrderedDict, state={"a": Calls(os.system, touch)}),
        "torch.save": Calls(torch.save, 1, str(marker)),
        "torch.set_num_threads": Calls(torch.set_num_threads, 7),
        "torch.manual_seed": Calls(torch.random.manual_seed, 7),
        "from_type": Calls(torch._tensor._rebuild_from_type_v2, os.system, str, (touch,), None),
        "parameter": Calls(torch._utils._rebuild_parameter, Calls(os.system, touch), True, {}),
        "class": witness,
    }


NAMES = sorted(attacks(Path("unused")))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture(autouse=True)
def unchanged_process(marker):
    """Nothing ran, nothing was set."""
    threads, seed = torch.get_num_threads(), torch.initial_seed()
    yield
    assert not marker.exists()
    assert (torch.get_num_threads(), torch.initial_seed()) == (threads, seed)


@pytest.mark.parametrize(
    "name", sorted(set(NAMES) - {"torch.set_num_threads", "torch.manual_seed"})
)
def test_the_attacks_are_real(marker, name):
    """Python's own unpickler runs every one of them."""
    content = pickle.dumps(attacks(marker)[name])
    assert not marker.exists()
    try:
        pickle.loads(content)
    except Exception as error:  # some fail after they ran
        assert marker.exists(), error
    assert marker.exists()
    marker.unlink()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_attacks_in_checkpoints(tmp_path, marker, name, old):
    path = tmp_path / "model.pt"
    hostile = {"model": {"a": attacks(marker)[name]}, "cfg": attacks(marker)[name]}
    torch.save(hostile, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(StackError, match=r"model\.pt: "):
        load_stack(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_attacks_in_pickles_of_every_protocol(tmp_path, marker, name, protocol):
    content = pickle.dumps(["before", attacks(marker)[name], "after"], protocol)
    before, hostile, after = read_pickle(io.BytesIO(content), no_storage)
    assert (before, after) == ("before", "after")
    assert isinstance(hostile, (Record, dict, list))


@pytest.mark.parametrize(
    "opcodes",
    [
        b"(cos\nsystem\nX\x05\x00\x00\x00touchtR.",
        b"(S'touch'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch'\no.",
        b"cos\nsystem\n(S'touch'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x05touch\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x05touch\x85}\x92.",
        b"cbuiltins\ngetattr\n(cos\nS'system'\ntR(S'touch'\ntR.",
        b"\x82\x01.",
        b"cposix\nsystem\n}b.",
        b"cposix\nsystem\n]e.",
    ],
)
def test_hostile_opcodes(opcodes):
    """Whatever they make of the stack, no name becomes a function."""
    try:
        made = read_pickle(io.BytesIO(opcodes), no_storage)
    except FileError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(made, (Record, Name, str))


def test_registered_extensions_are_not_looked_up(marker):
    copyreg.add_extension("posix", "system", 0x7A)
    try:
        hostile = pickle.dumps(Calls(os.system, f"touch {marker}"), 2)
        assert b"system" not in hostile
        with pytest.raises(FileError, match="extensions"):
            read_pickle(io.BytesIO(hostile), no_storage)
    finally:
        copyreg.remove_extension("posix", "system", 0x7A)


def test_no_module_is_imported(tmp_path, monkeypatch, marker):
    (tmp_path / "hostile_module.py").write_text(f"open({str(marker)!r}, 'w')\nclass A: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = read_pickle(io.BytesIO(b"chostile_module\nA\n)\x81."), no_storage)
    assert made.kind == "hostile_module.A" and "hostile_module" not in sys.modules


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(StackError, match="TorchScript archive, which is code"):
        load_stack(path)


def test_tar_files_are_refused(tmp_path, marker):
    """torch before 0.1.10 saved such; torch.load still unpickles what is in them."""
    path = tmp_path / "model.pt"
    content = pickle.dumps(attacks(marker)["os.system"])
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(StackError, match=r"model\.pt: it is no file of torch\.save"):
        load_stack(path)


def test_attacks_in_a_bin_file_of_a_directory(tmp_path, marker):
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    torch.save(attacks(marker), tmp_path / "pytorch_model.bin")
    with pytest.raises(StackError):
        load_stack(tmp_path)
    shutil.copy(tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors")
    with pytest.raises(StackError, match="model.safetensors is damaged"):
        load_stack(tmp_path)


def test_objects_become_records(tmp_path):
    path = tmp_path / "objects.pt"
    torch.save({"p": Path("a"), "m": torch.nn.Linear(2, 3), "f": os.system}, path)
    content = read_torch_file(path)
    assert content["p"].kind == "pathlib.PosixPath" and content["p"].args == ("a",)
    module = content["m"]
    assert module.kind == "torch.nn.modules.linear.Linear"
    assert module.attributes["in_features"] == 2
    assert module.attributes["_parameters"]["weight"].shape == (3, 2)
    assert content["f"] == Name("posix", "system")


def test_plain_values_stay_as_they_are(tmp_path):
    values = {
        "numbers": [1, -(2**70), 2.5, True, None, 3j.imag],
        "text": ("ä", b"bytes"),
        "sets": {1, 2},
        "nested": OrderedDict(a=[{"b": (1, [2])}]),
        "default": defaultdict(list, a=[1]),
        "size": torch.Size([2, 3]),
    }
    for protocol in (2, 4):
        torch.save(values, tmp_path / "plain.pt", pickle_protocol=protocol)
        content = read_torch_file(tmp_path / "plain.pt")
        assert content["numbers"] == values["numbers"] and content["text"][0] == "ä"
        assert content["sets"] == {1, 2} and content["nested"] == {"a": [{"b": (1, [2])}]}
        assert content["default"] == {"a": [1]} and content["size"] == (2, 3)
    assert content["text"][1] == b"bytes"


def no_storage(pid: Any) -> Any:
    raise FileError("no tensors here")
