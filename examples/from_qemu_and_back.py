"""Take a guest from QEMU, change a word of its memory, and hand it back.

    (qemu) migrate "exec:cat > guest.mig"
    python examples/from_qemu_and_back.py guest.mig changed.mig 0x3000 0xcafe
    qemu-system-ppc … -incoming "exec:cat changed.mig"

The options must fit the machine that QEMU runs; here `-M g3beige -m 128 -nographic`.
"""

import sys

from gossamer import Vm


def main(source: str, target: str, address: str, value: str, ram: str = "128M") -> None:
    with Vm("g3beige", ram=ram, nographic=True) as vm:
        vm.receive(f"file:{source}")
        print(vm)
        place = int(address, 0)
        print(f"{place:#x} held {vm.physical.u32(place):#x}")
        vm.physical[place : place + 4] = int(value, 0)
        vm.send(f"file:{target}", profile="qemu-7.2")


if __name__ == "__main__":
    main(*sys.argv[1:])
