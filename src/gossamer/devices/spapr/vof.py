"""The firmware of a pseries that is a service of the machine: Open Firmware's client interface.

Source: IEEE 1275-1994 chapter 6, LoPAR appendix B (PAPR binding).  A stub in guest memory turns
each call into H_VOF_CLIENT; the tree, the memory map and the open instances are kept here, until
the kernel says `quiesce`.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from typing import Final

from gossamer.base.bits import align_up
from gossamer.core.trace import QUIET, Trace
from gossamer.devices.spapr import cas, stub
from gossamer.devices.spapr.calls import PARAMETER, SUCCESS, GuestRam, Registers
from gossamer.devices.spapr.fdt import PHANDLE, Node, flatten, unflatten

H_VOF_CLIENT: Final = 0xF005
ERROR: Final = 0xFFFF_FFFF
#: Cells of a call: arguments and results together.
MOST_CELLS: Final = 10
LONGEST_NAME: Final = 256
LONGEST_WRITE: Final = 4096
#: What a guest can make grow has a bound.
MOST_TREE: Final = 0x20_0000
MOST_CLAIMS: Final = 1024
MOST_INSTANCES: Final = 256

Service = Callable[..., "int | Sequence[int]"]


class Firmware:
    """The state of the firmware.  `write` takes what the guest prints.

    `negotiate` is called with the address of the option vectors: a return code, and the tree as it
    is then; `leave` is called when the guest ends.
    """

    def __init__(self, ram: GuestRam, trace: Trace = QUIET) -> None:
        self.ram, self.trace = ram, trace
        self.write: Callable[[bytes], None] = lambda data: None
        self.negotiate: Callable[[int], tuple[int, Node]] = lambda at: (ERROR, self.root)
        self.leave: Callable[[], None] = lambda: None
        self.active = False
        self.root = Node("")
        self.reserved: list[tuple[int, int]] = []
        #: Memory that is taken: start and end, in order.
        self.claims: list[tuple[int, int]] = []
        #: Handles of open instances, and the phandles of what they are instances of.
        self.instances: dict[int, int] = {}
        self.last_instance = 0
        self._blob: bytes | None = None
        self._size = 0
        self._by_phandle: dict[int, Node] = {}
        self._services: dict[str, tuple[int, Service]] = {
            "finddevice": (1, self._find_device),
            "getprop": (4, self._get_property),
            "getproplen": (2, self._property_length),
            "nextprop": (3, self._next_property),
            "setprop": (4, self._set_property),
            "peer": (1, self._peer),
            "child": (1, self._child),
            "parent": (1, self._parent),
            "open": (1, self._open),
            "close": (1, self._close),
            "instance-to-package": (1, self._package_of),
            "package-to-path": (3, self._path_of_package),
            "instance-to-path": (3, self._path_of_instance),
            "canon": (3, self._canon),
            "write": (3, self._write),
            "read": (3, lambda instance, address, length: 0),
            "claim": (3, self._claim),
            "release": (2, self._release),
            "quiesce": (0, self._quiesce),
            "exit": (0, self._exit),
            "test": (1, self._test),
        }

    def begin(
        self, root: Node, reserved: list[tuple[int, int]], claims: list[tuple[int, int]]
    ) -> None:
        """Be at power on, with this tree; `claims` are start and end of what is taken."""
        self.reserved, self.claims = reserved, sorted(claims)
        self.instances, self.last_instance = {}, 0
        self.active = True
        self._present(root)

    def _present(self, root: Node) -> None:
        """Show this tree, with memory as it is taken.

        The terminal is open, also where a display is to be the console.
        """
        self.root, self._blob = root, None
        self._index()
        chosen = root.child("chosen")
        terminal = next((node for node in root.walk() if node.name.startswith("vty@")), None)
        if chosen is not None and terminal is not None:
            chosen.put_first("stdout", self._opened(terminal))
        self._show_available()

    def _index(self) -> None:
        self._by_phandle = {node.phandle: node for node in self.root.walk() if node.phandle}
        self._size = len(self.blob)

    # --- the tree as bytes ------------------------------------------------------------------------

    @property
    def blob(self) -> bytes:
        """The tree as it is now."""
        if self._blob is None:
            self._blob = flatten(self.root, self.reserved)
        return self._blob

    @blob.setter
    def blob(self, blob: bytes) -> None:
        """The tree of a stream; ValueError when it is none."""
        self.root, self.reserved = unflatten(blob) if blob else (Node(""), [])
        self._blob = blob
        self._index()
        self._blob = blob

    # --- calls ------------------------------------------------------------------------------------

    def call(self, regs: Registers) -> int:
        """H_VOF_CLIENT: r4 is the address of the call's cells: service, counts, arguments."""
        at = regs.get("gpr", 4) & 0xFFFF_FFFF
        if not self.active or not self.ram.has(at, 12):
            return PARAMETER
        pointer, count, wanted = self.ram.words(at, 3)
        if count + wanted > MOST_CELLS or not self.ram.has(at + 12, 4 * (count + wanted)):
            return PARAMETER
        name = self._text(pointer)
        cells = self.ram.words(at + 12, count)
        if name == "call-method":
            found: Sequence[int] = self._call_method(cells)
        else:
            least, service = self._services.get(name, (0, self._unknown))
            if len(cells) < least:
                return PARAMETER
            answer = service(*cells[:least])
            found = [answer] if isinstance(answer, int) else answer
            if service == self._unknown:
                self.trace.event("vof", f"no service {name!r}")
                return -1
        results = [*found[:wanted], *[0] * (wanted - len(found))]
        self.ram.put_words(at + 12 + 4 * count, results)
        return SUCCESS

    def _unknown(self) -> int:
        return ERROR

    def _text(self, address: int, most: int = LONGEST_NAME) -> str:
        """A name in memory; empty where there is none."""
        data = self.ram.text(address, most)
        return "" if data is None else data.decode("ascii", "replace")

    def _put(self, address: int, data: bytes) -> bool:
        if not self.ram.has(address, len(data)):
            return False
        self.ram.write(address, data)
        return True

    def _test(self, pointer: int) -> int:
        return 0 if self._text(pointer) in (*self._services, "call-method") else ERROR

    # --- the tree ---------------------------------------------------------------------------------

    def _find_device(self, pointer: int) -> int:
        path = self._text(pointer)
        node = self.root.find(path) if path.startswith("/") else None
        return ERROR if node is None else node.phandle

    def _value(self, phandle: int, pointer: int) -> bytes | None:
        node, name = self._by_phandle.get(phandle), self._text(pointer)
        if node is None or not name:
            return None
        if name == "name" and name not in node.properties:
            return node.name.partition("@")[0].encode() + b"\0"
        return node.properties.get(name)

    def _get_property(self, phandle: int, pointer: int, address: int, length: int) -> int:
        value = self._value(phandle, pointer)
        if value is None or not self._put(address, value[:length]):
            return ERROR
        return len(value)

    def _property_length(self, phandle: int, pointer: int) -> int:
        value = self._value(phandle, pointer)
        return ERROR if value is None else len(value)

    def _next_property(self, phandle: int, pointer: int, address: int) -> int:
        node = self._by_phandle.get(phandle)
        if node is None:
            return ERROR
        names = list(node.properties)
        before = self._text(pointer)
        if before and before not in names:
            return ERROR
        place = names.index(before) + 1 if before else 0
        if place == len(names):
            self._put(address, b"\0")
            return 0
        return 1 if self._put(address, names[place].encode() + b"\0") else ERROR

    def _set_property(self, phandle: int, pointer: int, address: int, length: int) -> int:
        node, name = self._by_phandle.get(phandle), self._text(pointer)
        if node is None or not name or name == PHANDLE or not self.ram.has(address, length):
            return ERROR
        before = node.properties.get(name)
        growth = length - len(before) if before is not None else length + len(name) + 16
        if self._size + growth > MOST_TREE:
            return ERROR
        value = self.ram.read(address, length)
        node.put_first(name, value)
        self._size += growth
        self._blob = None
        return length

    def _peer(self, phandle: int) -> int:
        if phandle == 0:
            return self.root.phandle
        node = self._by_phandle.get(phandle)
        if node is None or node.parent is None:
            return 0 if node is not None else ERROR
        beside = node.parent.children
        place = beside.index(node) + 1
        return beside[place].phandle if place < len(beside) else 0

    def _child(self, phandle: int) -> int:
        node = self._by_phandle.get(phandle)
        if node is None:
            return ERROR
        return node.children[0].phandle if node.children else 0

    def _parent(self, phandle: int) -> int:
        node = self._by_phandle.get(phandle)
        if node is None:
            return ERROR
        return node.parent.phandle if node.parent is not None else 0

    # --- instances --------------------------------------------------------------------------------

    def _opened(self, node: Node) -> int:
        if len(self.instances) >= MOST_INSTANCES:
            return 0
        self.last_instance += 1
        self.instances[self.last_instance] = node.phandle
        return self.last_instance

    def _open(self, pointer: int) -> int:
        node = self.root.find(self._text(pointer).partition(":")[0])
        return 0 if node is None else self._opened(node)

    def _close(self, instance: int) -> int:
        self.instances.pop(instance, None)
        return 0

    def _package_of(self, instance: int) -> int:
        return self.instances.get(instance, ERROR)

    def _path_of_package(self, phandle: int, address: int, length: int) -> int:
        node = self._by_phandle.get(phandle)
        if node is None:
            return ERROR
        path = node.path.encode()
        return len(path) if self._put(address, (path + b"\0")[:length]) else ERROR

    def _path_of_instance(self, instance: int, address: int, length: int) -> int:
        return self._path_of_package(self.instances.get(instance, ERROR), address, length)

    def _canon(self, pointer: int, address: int, length: int) -> int:
        node = self.root.find(self._text(pointer))
        return ERROR if node is None else self._path_of_package(node.phandle, address, length)

    def _write(self, instance: int, address: int, length: int) -> int:
        node = self._by_phandle.get(self.instances.get(instance, 0))
        length = min(length, LONGEST_WRITE)
        if node is None or not self.ram.has(address, length):
            return ERROR
        if node.properties.get("device_type") == b"serial\0":
            self.write(self.ram.read(address, length))
        return length

    def _call_method(self, cells: list[int]) -> list[int]:
        """The method's name, an instance, its arguments: 0 and the result, or an error."""
        if len(cells) < 3:
            return [ERROR]
        method, path = self._text(cells[0]), ""
        node = self._by_phandle.get(self.instances.get(cells[1], 0))
        if node is not None:
            path = node.path
        if method == cas.METHOD and path == "/":
            code, root = self.negotiate(cells[2])
            self._present(root)
            return [code & ERROR, 0]
        if method == "instantiate-rtas" and path == "/rtas":
            return [0, cells[2]] if self._put(cells[2], stub.RTAS) else [ERROR]
        return [ERROR]

    # --- memory -----------------------------------------------------------------------------------

    def _claim(self, address: int, size: int, alignment: int) -> int:
        if not size or len(self.claims) >= MOST_CLAIMS:
            return ERROR
        if alignment:
            found = self._room(size, alignment)
            if found is None:
                return ERROR
            address = found
        if not self.ram.has(address, size) or self._is_taken(address, address + size):
            return ERROR
        insort(self.claims, (address, address + size))
        self._show_available()
        return address

    def _is_taken(self, start: int, end: int) -> bool:
        return any(start < e and s < end for s, e in self.claims)

    def _room(self, size: int, alignment: int) -> int | None:
        """The lowest place for `size` bytes; the alignment is made a power of two."""
        alignment = 1 << max(alignment - 1, 0).bit_length()
        for start, end in self._holes():
            address = align_up(start, alignment)
            if address + size <= end:
                return address
        return None

    def _release(self, address: int, size: int) -> int:
        if (address, address + size) not in self.claims:
            return ERROR
        self.claims.remove((address, address + size))
        self._show_available()
        return 0

    def _holes(self) -> list[tuple[int, int]]:
        holes, at = [], 0
        for start, end in self.claims:
            if at < start:
                holes.append((at, start))
            at = max(at, end)
        if at < self.ram.size:
            holes.append((at, self.ram.size))
        return holes

    def _show_available(self) -> None:
        node = self.root.find("/memory@0")
        if node is not None and self.active:
            cells = [c for s, e in self._holes() for n in (s, e - s) for c in (n >> 32, n & ERROR)]
            node.put_first("available", cells)
            self._blob = None

    # --- the end ----------------------------------------------------------------------------------

    def _quiesce(self) -> int:
        self.active = False
        self.claims, self.instances = [], {}
        return 0

    def _exit(self) -> int:
        self.leave()
        return 0
