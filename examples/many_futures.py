"""Eight futures of one machine: each process types something else and tells what it led to."""

from gossamer import Vm


def future(vm: Vm, n: int) -> tuple[int, int]:
    vm.serial.send("x" * (n % 3))
    vm.run(seconds=0.02)
    return vm.memory.u32(0x3000), vm.state_hash


def main() -> None:
    with Vm("g3beige", ram="8M", icount=5, bios="builtin", nographic=True) as vm:
        vm.serial.expect("tick 100 ")
        results = vm.fork(8, future)
        for n, (ticks, value) in enumerate(results):
            print(f"future {n}: {ticks} ticks, state {value:016x}")
        print("different states:", len({value for _, value in results}))


if __name__ == "__main__":
    main()
