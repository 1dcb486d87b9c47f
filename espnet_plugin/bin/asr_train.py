"""``espnet2.bin.asr_train`` with the plug-in's encoders; the options are ESPnet's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_plugin.task import ASRTask


def get_parser() -> argparse.ArgumentParser:
    """ESPnet's parser of ``asr_train``, where ``--encoder`` also takes the plug-in's names."""
    return ASRTask.get_parser()


def main(cmd: Sequence[str] | None = None) -> None:
    """Collect statistics or train, as ``espnet2.bin.asr_train`` does.

    Args:
        cmd: the arguments; ``None`` takes those of the command line.
    """
    ASRTask.main(cmd=cmd)


if __name__ == "__main__":
    main()
