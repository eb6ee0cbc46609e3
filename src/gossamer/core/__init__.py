"""Floor 2: the virtual clock, interrupt lines, memory and the `Device` that chips derive from."""
