"""A VNC server: RFB 3.8 and what QEMU adds to it, in the loop of the process."""
