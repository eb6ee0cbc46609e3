"""Disks of a virtual machine: opening images, snapshots, content in the state hash.

Being written by the disks helper (not the QEMU-both-directions one).
"""
