"""Watch interrupts of the decrementer arrive, with the built-in guest: no firmware, no files."""

from gossamer import Vm


def main() -> None:
    with Vm("g3beige", ram="8M", icount=5, bios="builtin", nographic=True) as vm:
        vm.serial.expect("tick 100 ")
        seen = []

        def arrives(vm: Vm) -> None:
            seen.append(vm.instructions)
            if len(seen) == 5:
                vm.stop()

        hook = vm.on_exception("decrementer", arrives)
        vm.run()
        hook.remove()
        print("interrupts at instructions", *seen)
        print(f"the interrupted program is at {vm.regs.srr0:#x}, MSR was {vm.regs.srr1:#x}")


if __name__ == "__main__":
    main()
