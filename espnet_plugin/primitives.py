"""oneDNN's store of compiled operations, which grows with every new length of speech."""

from __future__ import annotations

import os

CAPACITY = 64
"""More than the operations of different shape in one pass through an encoder."""


def bound_primitives() -> None:
    """Let oneDNN keep no more than the latest operations, unless the environment says otherwise.

    By default it keeps 1,024, each for one shape. Utterances nearly always have shapes of their
    own, so memory grows by hundreds of MiB over some thousand of them and nothing is gained. It
    has effect before the first operation of the process only, so commands begin with it.
    """
    if not {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"} & set(os.environ):
        os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = str(CAPACITY)
