"""Look inside a speech encoder, make it smaller and faster, and prove it with k2 lattices.

Importing this package imports neither torch nor ESPnet. :func:`register` makes the
encoder types known to ESPnet; see :mod:`espnet_plugin.registry`.
"""

from espnet_plugin.registry import register
from espnet_plugin.version import __version__

__all__ = ["__version__", "register"]
