"""The analysis suite: what a measure is, one pass over the data, shards, results."""
