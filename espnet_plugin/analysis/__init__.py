"""Measures of what the blocks and heads of an encoder do."""
