"""Loading a model as a stack of blocks, and looking at what its blocks compute."""
