"""A machine's past: inputs with their place, checkpoints, and the ways back."""
