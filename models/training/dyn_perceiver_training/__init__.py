"""Dyn-Perceiver in PyTorch: definition and training. Exporting and running belong to the Rust side."""
