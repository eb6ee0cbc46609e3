"""Floor 0: bits, wire reading and writing, units and errors.  Imports nothing of ours."""
