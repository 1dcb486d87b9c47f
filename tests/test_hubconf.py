"""Entry points of torch.hub, each in a process that knows nothing but the directory."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import write_experiment

from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

PLAN = "stack: {family: wav2vec2, blocks: 3}\nactions: [{block: 1, do: drop}]\n"
ENTRIES = [
    "asr_experiment",
    "filtered_wav2vec2",
    "load_stack",
    "mimic_stack",
    "pruned_stack",
    "reuse_conformer",
]

LOADS = """
import sys, torch
root, folder = sys.argv[1:]
def load(name, *args, **options):
    return torch.hub.load(root, name, *args, source="local", **options)
stack, plan, exp = folder + "/stack.pt", folder + "/plan.yaml", folder + "/exp"
speech, lengths = torch.randn(2, 4000), torch.tensor([4000, 3000])
with torch.no_grad():
    edited = load("load_stack", stack, plan=plan)
    hidden, frames = edited(speech, lengths)
    filtered = load("filtered_wav2vec2", stack, abnormal_blocks=[1]).eval()
    pruned = load("pruned_stack", stack, keep_blocks=[0, 2]).eval()
    for encoder in (filtered, pruned):
        x, counts, _ = encoder(speech, lengths)
        assert torch.equal(counts, frames) and torch.allclose(x, hidden[-1], atol=1e-5)
    mimic = load("mimic_stack", stack, hidden=8, layers=1).eval()
    assert mimic(speech, lengths)[0].shape == x.shape and len(mimic.stack.blocks) == 1
    reuse = load("reuse_conformer", 80, [[0, 1], [2]], num_blocks=3, output_size=16,
                 attention_heads=2, linear_units=8, rel_pos_type="latest").eval()
    assert reuse(torch.randn(1, 50, 80), torch.tensor([50]))[0].shape[2] == 16
    assert reuse.groups == [[0, 1], [2]]
    asr = load("asr_experiment", exp)
    encoded, counts = asr.model.encode(torch.randn(1, 16000), torch.tensor([16000]))
    assert asr.model.ctc.log_softmax(encoded).shape[2] == len(asr.token_list)
    waveform = torch.randn(1, 9000)
    torch.save((waveform, load("load_stack", exp).output(waveform)[0]), folder + "/out.pt")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        conv_layers=((8, 10, 5), (8, 8, 4)), width=16, blocks=3, heads=2, feed_forward=20,
        pos_kernel=4, pos_groups=2,
    )  # fmt: skip
    Wav2Vec2Stack(config).save(folder / "stack.pt")
    (folder / "plan.yaml").write_text(PLAN)
    write_experiment(folder / "exp")
    return folder


def test_every_entry_point(folder, repo_root) -> None:
    command = [sys.executable, "-c", LOADS, str(repo_root), str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    waveform, output = torch.load(folder / "out.pt")
    with torch.no_grad():
        torch.testing.assert_close(output, load_stack(folder / "exp").output(waveform)[0])


def test_list_and_help_are_useful(repo_root, tmp_path, monkeypatch) -> None:
    # they take no local directory, but one that is in torch's cache already
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "owner_espnet_plugin_main").symlink_to(repo_root)
    options = {"skip_validation": True, "trust_repo": True}
    assert sorted(torch.hub.list("owner/espnet_plugin:main", **options)) == ENTRIES
    for name in ENTRIES:
        said = torch.hub.help("owner/espnet_plugin:main", name, **options)
        assert "Args:" in said and "Returns:" in said and f'"{name}"' in said and len(said) > 400


def test_dependencies_are_what_the_package_needs_and_no_more(repo_root) -> None:
    tree = ast.parse((repo_root / "hubconf.py").read_text())
    assigned = {
        node.targets[0].id: node.value  # type: ignore[attr-defined]
        for node in tree.body
        if isinstance(node, ast.Assign)
    }
    listed = set(ast.literal_eval(assigned["dependencies"]))
    imports = """
import sys, importlib
for name in sys.argv[1:]:
    importlib.import_module(f"espnet_plugin.{name}")
import ast
for name, module in list(sys.modules.items()):
    if name.startswith("espnet_plugin") and getattr(module, "__file__", None):
        for node in ast.parse(open(module.__file__).read()).body:
            if isinstance(node, ast.Import):
                print(*("needs " + alias.name for alias in node.names), sep="\\n")
            elif isinstance(node, ast.ImportFrom):
                print("needs " + node.module)
"""
    modules = [f"encoders.{name}" for name in ENTRIES[1:] if name != "load_stack"]
    command = [sys.executable, "-c", imports, *modules, "stacks.load", "stacks.experiment", "task"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {line.split()[1].split(".")[0] for line in lines if line.startswith("needs ")}
    # torch.hub's look for humanfriendly, which ESPnet needs too, fails once it is imported: such
    # a module has no __spec__
    needed = found - set(sys.stdlib_module_names) - {"espnet_plugin", "humanfriendly"}
    assert listed == needed
