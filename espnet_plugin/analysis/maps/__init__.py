"""Attention maps of heads: measures, categories, similarity, groups that could share a map."""
