"""IDE: MacIO's cell, the drives behind it, ATA and packet commands."""
