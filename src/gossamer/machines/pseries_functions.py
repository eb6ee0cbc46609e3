"""Nodes of PCI functions in a pseries's device tree, as QEMU 7.2 makes them.

Source: PCI Bus Binding to IEEE 1275, 4.1; QEMU's own trees (values and order).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.devices.pci import CLASS, CONFIG_SIZE, INTERRUPT_PIN, SUBSYSTEM, Bar, PciDevice
from gossamer.devices.spapr.fdt import Node
from gossamer.devices.spapr.phb import msix_of

#: What a node is called, by class and subclass, and where that says more, by interface.
NAMES: Final = {
    0x0100: "scsi", 0x0101: "ide", 0x0104: "raid", 0x0200: "ethernet", 0x0300: "vga",
    0x0380: "display", 0x0500: "memory", 0x0780: "communication-controller", 0x0C03: "usb",
    0x0C_03_10: "usb-ohci", 0x0C_03_30: "usb-xhci", 0x00FF: "legacy-device",
}  # fmt: skip
CAPABILITIES, MSI = 0x34, 0x05
#: Spaces of addresses.
_PORTS, _MEMORY, _WIDE = 1 << 24, 2 << 24, 3 << 24


def add_functions(
    bridge: Node,
    functions: Sequence[tuple[PciDevice, str]],
    connector: int,
    *,
    extended: bool = True,
) -> None:
    """A node for each function, with QEMU's name of its kind.

    `connector`: the hot-plug connector of function 0; 0: functions have none.  `extended`: more
    than 256 bytes of configuration space can be reached.
    """
    for one, kind in sorted(functions, key=lambda pair: pair[0].devfn):
        _add(bridge, one, kind, connector, extended=extended)


def _space(bar: Bar) -> int:
    if bar.kind == "io":
        return _PORTS
    return _WIDE if bar.width == 8 else _MEMORY


def _add(bridge: Node, f: PciDevice, kind: str, connector: int, *, extended: bool) -> None:
    code = int.from_bytes(f.power_on[CLASS + 1 : CLASS + 4], "little")
    slot, number = f.devfn >> 3, f.devfn & 7
    where = f"{slot:x},{number:x}" if number else f"{slot:x}"
    name = NAMES.get(code) or NAMES.get(code >> 8, "unknown")
    node = bridge.add(f"{name}@{where}")
    node.set("max-latency", 0)
    node.set("min-grant", 0)
    if extended and len(f.config) > CONFIG_SIZE:
        node.set("ibm,pci-config-space-type", 1)
    reg = [f.devfn << 8, 0, 0, 0, 0]
    for bar in sorted(f.bars, key=lambda bar: bar.number):
        reg += [_space(bar) | f.devfn << 8 | bar.at, 0, 0, *_wide(bar.target.size)]
    node.set("reg", reg)
    msix = msix_of(f)
    if msix is not None:
        node.set("ibm,req#msi-x", msix.count)
    if _has(f, MSI):
        node.set("ibm,req#msi", 1)
    if connector:
        node.set("ibm,my-drc-index", connector | f.devfn)
    node.set("ibm,loc-code", f"qemu_{kind}:0000:00:{slot:02x}.{number}")
    node.set("devsel-speed", 0)
    node.set("cache-line-size", 0)
    vendor, model = _number(f, SUBSYSTEM, 2), _number(f, SUBSYSTEM + 2, 2)
    if vendor:
        node.set("subsystem-vendor-id", vendor)
    if model:
        node.set("subsystem-id", model)
    if f.power_on[INTERRUPT_PIN]:
        node.set("interrupts", f.power_on[INTERRUPT_PIN])
    node.set("class-code", code)
    node.set("revision-id", f.power_on[CLASS])
    node.set("device-id", _number(f, 2, 2))
    node.set("vendor-id", _number(f, 0, 2))


def _has(f: PciDevice, capability: int) -> bool:
    """Whether a function lists a capability."""
    at, seen = f.power_on[CAPABILITIES], 0
    while at and seen < CONFIG_SIZE // 4:
        if f.power_on[at] == capability:
            return True
        at, seen = f.power_on[at + 1], seen + 1
    return False


def _number(f: PciDevice, at: int, size: int) -> int:
    return int.from_bytes(f.power_on[at : at + size], "little")


def _wide(value: int) -> list[int]:
    return [value >> 32, value & 0xFFFF_FFFF]
