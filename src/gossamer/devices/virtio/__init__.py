"""Virtio: rings of descriptors in guest memory, the PCI transport, and the devices behind it.

Sources: Virtual I/O Device (VIRTIO) 1.2 (OASIS); what it leaves open, and the form of streams, as
QEMU 7.2 has it.
"""
