"""Boot Linux, type a command, read its answer.

    python examples/boot_and_type.py vmlinux initramfs.cpio.gz

Any Linux for Power Macintoshes whose RAM disk gives a shell on the serial port will do.
"""

import sys

from gossamer import Vm


def main(kernel: str, initrd: str, *more: str) -> None:
    prompt = more[0] if more else "# "
    with Vm(
        "g3beige",
        ram="256M",
        icount=5,
        nographic=True,
        kernel=kernel,
        initrd=initrd,
        append="console=ttyPZ0",
    ) as vm:
        vm.serial.expect(prompt)
        status, said = vm.serial.command("uname -a")
        print(f"exit status {status}: {said}")
        print(vm)


if __name__ == "__main__":
    main(*sys.argv[1:])
