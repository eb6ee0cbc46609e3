"""QEMU's standard VGA."""
