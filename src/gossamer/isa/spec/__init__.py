"""The instruction set itself; `table` has all of it."""
