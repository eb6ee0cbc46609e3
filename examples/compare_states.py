"""Two machines with the same inputs are in the same state; one key makes the difference."""

from gossamer import Vm


def main() -> None:
    def fresh() -> Vm:
        return Vm("g3beige", ram="8M", icount=5, bios="builtin", nographic=True)

    with fresh() as one, fresh() as other:
        for vm in (one, other):
            vm.run(instructions=3_000_000)
        print("alike:", one.state_hash == other.state_hash)
        one.serial.send("x")  # the guest answers with a report
        for vm in (one, other):
            vm.run(instructions=100_000)
        print("alike:", one.state_hash == other.state_hash)
        for name in ("pc", "lr", "r3", "r14"):
            print(f"{name:>4} {one.regs[name]:08x} {other.regs[name]:08x}")


if __name__ == "__main__":
    main()
