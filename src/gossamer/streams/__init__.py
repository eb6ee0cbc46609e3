"""Floor 7: `gossamer stream show|diff|check|doctor|convert`, for any stream in QEMU's format."""
