"""Commands, run as ``python -m espnet_plugin.bin.NAME``; each has ``get_parser`` and ``main``."""
