"""Floor 7: what a person or a program talks to: consoles, terminals, the monitor."""
