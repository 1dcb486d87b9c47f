"""Models side by side: parameters, operations, speed and memory."""
