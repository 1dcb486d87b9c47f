"""Commands, run as ``python -m espnet_plugin.bin.NAME``: ``get_parser()`` and ``main(cmd=None)``."""
