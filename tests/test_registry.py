"""register(): lazy, repeatable, in every task that has ESPnet's Conformer, and strict."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from espnet_plugin import register, registry

CONFORMER = "espnet2.asr.encoder.conformer_encoder:ConformerEncoder"


def run(*args: str, root: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *args], cwd=root, text=True, capture_output=True)


def test_importing_and_registering_import_neither_torch_nor_espnet(repo_root):
    code = (
        "import sys, espnet_plugin; espnet_plugin.register(); espnet_plugin.register()\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}\n"
        "             & {'torch', 'numpy', 'espnet', 'espnet2', 'yaml'}))\n"
        "print(len([f for f in sys.meta_path if type(f).__module__ == 'espnet_plugin.registry']))"
    )
    assert run("-c", code, root=repo_root).stdout.splitlines() == ["[]", "1"]


def test_tasks_imported_later_get_the_encoders_where_they_have_a_conformer(repo_root):
    code = (
        "from espnet2.tasks import asr, enh, hubert, slu, st\n"
        "from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder\n"
        "for task in (asr, enh, hubert, slu, st):\n"
        "    print(task.encoder_choices.classes.get('reuse_conformer') is ReuseConformerEncoder)\n"
    )
    done = run("-m", "espnet_plugin", "-c", code, root=repo_root)
    assert done.stdout.split()[-5:] == ["True", "False", "False", "True", "True"], done.stderr


@pytest.fixture
def classes(monkeypatch):
    """The encoder classes of ESPnet's ASR task, put back as they were afterwards."""
    from espnet2.tasks.asr import encoder_choices

    monkeypatch.setattr(encoder_choices, "classes", dict(encoder_choices.classes))
    return encoder_choices.classes


def test_a_task_imported_before_gets_the_encoders(classes):
    classes.pop("reuse_conformer", None)
    register()
    added = classes["reuse_conformer"]
    register()
    assert classes["reuse_conformer"] is added
    assert added.__name__ == "ReuseConformerEncoder"


def test_another_class_under_our_name_is_an_error_naming_the_key(classes):
    classes["reuse_conformer"] = classes["conformer"]
    with pytest.raises(ValueError, match="encoder 'reuse_conformer': espnet2.tasks.asr already"):
        register()
    assert classes["reuse_conformer"] is classes["conformer"]


def test_a_clash_fails_the_import_of_a_task(classes, monkeypatch):
    register()
    monkeypatch.delitem(sys.modules, "espnet2.tasks.slu", raising=False)
    monkeypatch.setitem(registry.ENCODERS, "rnn", CONFORMER)
    with pytest.raises(ValueError, match="encoder 'rnn': espnet2.tasks.slu already has"):
        import_module("espnet2.tasks.slu")
    assert "espnet2.tasks.slu" not in sys.modules


def test_a_class_that_is_no_encoder_is_refused(classes, monkeypatch):
    monkeypatch.setitem(registry.ENCODERS, "broken", "torch.nn:Linear")
    with pytest.raises(TypeError, match="encoder 'broken': torch.nn:Linear is no AbsEncoder"):
        register()
    assert "broken" not in classes


def test_a_name_with_capitals_is_refused(classes, monkeypatch):
    monkeypatch.setitem(registry.ENCODERS, "Broken", CONFORMER)
    with pytest.raises(ValueError, match="encoder name 'Broken': ESPnet wants lower case"):
        register()
    assert "Broken" not in classes


def test_espnet3_has_the_encoders_too(classes):
    espnet3_task = pytest.importorskip(
        "espnet3.systems.esp2_asr.task", reason="ESPnet 3 comes with espnet >= 202609"
    )
    register()
    assert espnet3_task.encoder_choices.classes["reuse_conformer"] is classes["reuse_conformer"]
