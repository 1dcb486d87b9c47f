"""Block plans, and the edits that carry them out."""
