"""Stacks as ONNX files, edits included."""
