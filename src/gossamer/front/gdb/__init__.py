"""The server of gdb's remote protocol: packets, description of the target, requests."""
