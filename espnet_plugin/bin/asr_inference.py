"""``espnet2.bin.asr_inference`` with the plug-in's encoders; the options are ESPnet's.

``Speech2Text`` is ESPnet's class. Named by this module, as in the ``_target_`` of an ESPnet 3
configuration, it finds the encoders in any process.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet2.bin import asr_inference
from espnet2.bin.asr_inference import Speech2Text

from espnet_plugin.registry import register

__all__ = ["Speech2Text", "get_parser", "main"]

register()


def get_parser() -> argparse.ArgumentParser:
    """ESPnet's parser of ``asr_inference``."""
    return asr_inference.get_parser()


def main(cmd: Sequence[str] | None = None) -> None:
    """Decode with ESPnet's beam search, as ``espnet2.bin.asr_inference`` does.

    Args:
        cmd: the arguments; ``None`` takes those of the command line.
    """
    asr_inference.main(cmd=cmd)


if __name__ == "__main__":
    main()
