"""`gossamer verify hops`: a running guest moved between gossamer and QEMU, again and again."""
