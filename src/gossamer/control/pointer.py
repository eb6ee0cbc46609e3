"""The pointer of a machine that movements go to."""

from __future__ import annotations

from gossamer.machines.machine import Machine, Mouse


def pointer(m: Machine) -> Mouse | None:
    """The pointer that was added last, as in QEMU; the ADB mouse until the guest has set it up."""
    if getattr(m.mouse, "is_configured", True):  # a USB device says whether it is
        return m.mouse
    from gossamer.devices.adb.mouse import AdbMouse  # noqa: PLC0415 - of most machines none is USB

    adb = next((p.device for p in m.parts if isinstance(p.device, AdbMouse)), None)
    return adb if adb is not None else m.mouse


def is_absolute(m: Machine) -> bool:
    """Whether that pointer knows places, not only movements."""
    return hasattr(pointer(m), "point")
