"""`gossamer bench engine`: small kernels on the bare machine and on QEMU's g3beige, in turn."""
