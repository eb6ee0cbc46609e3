"""Find out which instruction wrote a variable last, and look at the machine just before it."""

from gossamer import Vm

TICKS = 0x3000  # where the built-in guest counts its ticks


def main() -> None:
    with Vm("g3beige", ram="8M", icount=5, bios="builtin", nographic=True) as vm:
        vm.keep_past()
        vm.serial.expect("tick 100 ")
        vm.run(instructions=12_345)
        found = vm.last_write(TICKS)
        assert found is not None
        before, after = (int.from_bytes(x, "big") for x in (found.before, found.after))
        print(f"the store at {found.pc:#x} wrote {after} over {before}")
        vm.rewind(found.moment)
        print(f"{vm.ns} ns: r21 is {vm.regs.r21}, memory has {vm.memory.u32(TICKS)}")
        print(vm.timeline)


if __name__ == "__main__":
    main()
