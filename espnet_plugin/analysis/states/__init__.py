"""Hidden states of all blocks: similarities, their structure, orders of pruning."""
