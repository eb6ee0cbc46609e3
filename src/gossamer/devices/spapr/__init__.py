"""What a pseries guest finds instead of hardware: hypercalls, run-time services, and their devices.

Sources: the Linux on Power Architecture Reference (LoPAR), IEEE 1275; numbers that a guest reads
from its device tree as QEMU 7.2 has them.
"""
