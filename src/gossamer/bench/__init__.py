"""Floor 7: `gossamer bench`, measurements beside QEMU."""
