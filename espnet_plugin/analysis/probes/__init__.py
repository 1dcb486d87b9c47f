"""What can be read from hidden states: probes, and predictive capacity."""
