"""Only the parent of the user directory: fairseq puts it on ``sys.path``."""
