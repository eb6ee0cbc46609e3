"""`gossamer verify isa`: each instruction against QEMU and Unicorn, vector by vector."""
