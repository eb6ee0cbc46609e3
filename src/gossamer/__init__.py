"""gossamer: a PowerPC Macintosh whose whole state can be cut, kept, moved and resumed."""

__version__ = "0.1.0"
