"""compat: what is installed, where ESPnet keeps things, and loading without running code."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys

import pytest
import torch

from espnet_plugin import compat


def test_versions_name_what_is_installed():
    found = compat.versions()
    assert tuple(found) == compat.PACKAGES
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert (found["k2"] is None) == (importlib.util.find_spec("k2") is None)


@pytest.mark.parametrize("name", sorted(compat._MOVED))
def test_every_moved_name_is_what_espnet_itself_uses(name):
    value = getattr(compat, name)
    assert value.__name__ == name
    assert value.__module__.startswith(("espnet.nets.", "espnet2.legacy.nets."))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_layer"):
        compat.no_such_layer  # noqa: B018


def test_a_missing_module_names_itself():
    with pytest.raises(ModuleNotFoundError, match="nets.no_such_module"):
        compat.espnet_nets("no_such_module")


def test_conformer_takes_tells_what_the_installed_encoder_accepts():
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

    assert compat.conformer_takes("interctc_use_conditioning")
    assert not compat.conformer_takes("reuse_groups")
    accepted = "use_sdpa" in inspect.signature(ConformerEncoder).parameters
    assert compat.conformer_takes("use_sdpa") == accepted


def test_torch_load_gives_back_tensors(tmp_path):
    state = {"weight": torch.randn(3, 2), "epoch": 4, "names": ["a"]}
    torch.save(state, tmp_path / "state.pth")
    loaded = compat.torch_load(tmp_path / "state.pth")
    assert torch.equal(loaded["weight"], state["weight"])
    assert (loaded["epoch"], loaded["names"]) == (4, ["a"])


class Payload:
    """Unpickling this makes a directory."""

    def __init__(self, directory):
        self.directory = str(directory)

    def __reduce__(self):
        return os.mkdir, (self.directory,)


def test_torch_load_refuses_code_and_does_not_run_it(tmp_path):
    torch.save({"weight": Payload(tmp_path / "made")}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="bad.pth: not a file of tensors and plain va") as caught:
        compat.torch_load(tmp_path / "bad.pth")
    assert "weights_only" not in str(caught.value)  # no advice to load it nevertheless
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_torch_load_names_a_damaged_file(tmp_path, content):
    (tmp_path / "cut.pth").write_bytes(content)
    with pytest.raises(ValueError, match="cut.pth: not a file of tensors"):
        compat.torch_load(tmp_path / "cut.pth")


def test_require_k2_gives_k2_or_the_advice():
    if importlib.util.find_spec("k2") is None:
        with pytest.raises(ImportError, match="k2 is not installed: pip install") as caught:
            compat.require_k2()
        assert "\n" not in str(caught.value)
        assert torch.__version__ in str(caught.value)
    else:
        assert hasattr(compat.require_k2(), "ctc_topo")


def test_require_k2_repeats_what_a_broken_k2_says(tmp_path, monkeypatch):
    """A k2 that was built for another torch raises on import, as k2's own check does."""
    (tmp_path / "k2.py").write_text("raise ImportError('k2 was built using PyTorch 9\\nBut ...')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "k2", raising=False)
    with pytest.raises(ImportError, match=r"k2 does not import \(k2 was built using PyTorch 9 But"):
        compat.require_k2()


def test_padding_after_normalisation_is_what_the_installed_espnet_makes_of_it():
    from espnet2.layers.utterance_mvn import utterance_mvn

    padded, _ = utterance_mvn(torch.ones(2, 5, 3), torch.tensor([5, 2]))
    assert compat.utterance_mvn_pads_with_zeros() == (not padded[1, 2:].any())
    assert compat.utterance_mvn_pads_with_zeros() == (compat.versions()["espnet"] >= "202611")
