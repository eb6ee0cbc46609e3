"""The built-in guests: programs in PowerPC assembly that need no firmware."""
