"""Encoders that register with ESPnet."""
