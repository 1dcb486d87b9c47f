"""The version, alone in a file so that set-up reads it without importing torch."""

__version__ = "0.1.0"
