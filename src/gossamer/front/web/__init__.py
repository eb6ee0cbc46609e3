"""The page for browsers: screen, consoles, discs and the machine's past on one port."""
