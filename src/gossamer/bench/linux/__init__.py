"""`gossamer bench linux`: what a user of a Linux guest waits for, beside QEMU."""
