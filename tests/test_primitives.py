"""Memory of a process that sees many lengths."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys
import torch
from espnet_plugin.primitives import bound_primitives

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "bounded":
    bound_primitives()
torch.set_num_threads(1)
layer = torch.nn.Linear(256, 1024)
with torch.no_grad():
    layer(torch.zeros(2, 1000, 256))
    start = resident()
    for length in range(200, 500):
        layer(torch.zeros(2, length, 256))
print(resident() - start)
"""


def grown(mode: str, **environment: str) -> float:
    kept = {name: value for name, value in os.environ.items() if "PRIMITIVE_CACHE" not in name}
    command = [sys.executable, "-c", SCRIPT, mode]
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, check=True)
    return float(done.stdout)


def test_memory_does_not_grow_with_new_lengths() -> None:
    bounded, free = grown("bounded"), grown("free")
    assert bounded < max(20.0, free / 3)


def test_the_environment_has_the_last_word(monkeypatch) -> None:
    from espnet_plugin.primitives import CAPACITY, bound_primitives

    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.delenv("DNNL_PRIMITIVE_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv(name, "7")
    bound_primitives()
    assert os.environ[name] == "7"
    monkeypatch.delenv(name)
    bound_primitives()
    assert os.environ[name] == str(CAPACITY)
    monkeypatch.delenv(name)
    monkeypatch.setenv("DNNL_PRIMITIVE_CACHE_CAPACITY", "9")
    bound_primitives()
    assert name not in os.environ
