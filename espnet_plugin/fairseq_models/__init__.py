"""Models for fairseq's own training: ``common.user_dir`` is the directory :data:`USER_DIR`.

The user directory has a parent of its own, for fairseq puts that parent first on ``sys.path``.
"""

from __future__ import annotations

from pathlib import Path

USER_DIR = Path(__file__).parent / "user_dir" / "espnet_plugin_fairseq"
"""What ``fairseq-hydra-train common.user_dir=…`` takes."""
