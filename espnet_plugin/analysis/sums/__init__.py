"""Sums and intervals that do not depend on the order of adding."""
