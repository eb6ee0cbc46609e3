"""Linux goes back in time: one boot, and what is asked of it is checked by running forward."""

from __future__ import annotations

import gzip
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer import Vm
from gossamer.control.timeline.record import read_record, verify
from gossamer.engine.processor import Stop
from gossamer.engine.stops import Watch
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KERNEL = 0xC000_0000
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    kernel = tmp_path_factory.mktemp("guest") / "vmlinux"
    with gzip.open(shared / "guests" / "vmlinux.gz") as packed, kernel.open("wb") as out:
        shutil.copyfileobj(packed, out)
    return {"kernel": kernel, "initrd": shared / "guests" / "initramfs.cpio.gz"}


@pytest.fixture(scope="module")
def ready(files: dict[str, Path], openbios: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A save of Linux at its prompt, by the first example's way."""
    save = tmp_path_factory.mktemp("linux") / "save"
    options = {"ram": "256M", "icount": 5, "nographic": True, "append": "console=ttyPZ0"}
    with Vm("g3beige", **options, **files) as vm:  # type: ignore[arg-type]
        vm.serial.expect("guest# ", seconds=300)
        assert vm.serial.command("uname -m") == (0, "ppc")
        vm.save(save)
    return save


def test_linux_goes_back_says_who_wrote_is_recorded_and_forks(
    ready: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    vm = Vm.load(ready, files=files)
    timeline = vm.keep_past(every=4_000_000)
    begin = vm.ns
    status, said = vm.serial.command("selfcheck -n 1; memhog 4 1 | head -n 2")
    assert (status, "ok" in said) == (0, True)
    end, value = vm.instructions, vm.state_hash
    assert len(timeline.ring.all) > 3
    rng = random.Random(20)
    for count in [end - 1, end - 2, *rng.sample(range(end - 20_000_000, end), 4)]:
        timeline.go_to_count(count)
        assert vm.instructions == count
    vm.rewind(ns=vm.ns - begin)
    vm.run(instructions=end - vm.instructions)
    assert vm.state_hash == value

    vm.record(tmp_path / "run", points=100)
    pages = sorted({n for c in timeline.ring.all[1:] for n in c.changed.tolist() if n < 0x10000})
    cells = [KERNEL + rng.choice(pages) * 4096 + 4 * rng.randrange(1024) for _ in range(3)]
    writes = [vm.last_write(cell) for cell in cells]
    assert vm.state_hash == value
    control, again, points = read_record(tmp_path / "run", files)
    verify(control, again, points)
    assert control.state_hash() == value
    for cell, write in zip(cells, writes, strict=True):
        again.go(again.begin)
        stops = control.machine.processor.debug()
        stops.set(frozenset(), (Watch(cell, 4, False, True),))
        last = None
        while control.run_to(end) is Stop.BREAK:
            last = control.instructions - 1
        stops.set(frozenset())
        assert last == (None if write is None else write.moment.instructions)
    control.close()

    def work(vm: Vm, n: int) -> str:
        return vm.serial.command(f"echo $(({n} * {n}))")[1]

    assert vm.fork(4, work) == ["0", "1", "4", "9"]
    assert vm.state_hash == value
    vm.close()


SERVE = """
import sys, time
from gossamer.control.session import Session
from gossamer.control.vm import Vm
from gossamer.front.gdb.server import GdbServer
from gossamer.front.sockets import open_socket
save, path, kernel, initrd, seconds = sys.argv[1:]
vm = Vm.load(save, files={"kernel": kernel, "initrd": initrd})
until = vm.clock_ns + int(seconds) * 10**9
device = open_socket("gdb", "unix", path, {"server": "on", "wait": "off"})
GdbServer(Session(vm), device)
vm.stop()
while device.peer is None:
    device.handle_ready()
    time.sleep(0.01)
while device.peer is not None:
    device.handle_ready()
    if vm.run_state == "running":
        vm.run_slice(5_000_000)
    device.flush()
vm.run(until_ns=until)
print(f"{vm.instructions} {vm.state_hash():016x}")
"""
#: A word of the kernel's that counts the ticks (jiffies), and the decrementer's vector.
TICKS, VECTOR = 0xC078_9304, 0x900


@pytest.mark.interop
def test_gdb_goes_back_to_the_last_write_of_a_kernel_variable(
    ready: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    gdb = shutil.which("gdb-multiarch")
    if gdb is None:
        pytest.skip("gdb-multiarch is not installed")
    script = tmp_path / "script"
    script.write_text(f"""
set confirm off
set pagination off
set endian big
set architecture powerpc:750
set remotetimeout 600
target remote {tmp_path}/gdb
hbreak *{VECTOR:#x}
ignore 1 8
continue
stepi 120
delete
printf "ticks %u\\n", *(unsigned*){TICKS:#x}
monitor last-write {TICKS:#x}
watch *(unsigned*){TICKS:#x}
reverse-continue
printf "stands at %#x\\n", $pc
delete
reverse-stepi
stepi
detach
""")
    command = [sys.executable, "-c", SERVE, ready, tmp_path / "gdb", *files.values(), "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as guest:
        try:
            until(lambda: (tmp_path / "gdb").exists() or guest.poll() is not None)
            done = subprocess.run(
                [gdb, "-nx", "-batch", "-x", script], capture_output=True, text=True, timeout=600
            )
            assert "stands at" in done.stdout, done.stdout + done.stderr
            assert guest.stdout is not None
            after = guest.stdout.readline().split()
        finally:
            guest.kill()
    said = done.stdout + done.stderr
    wrote = re.search(r"(0x[0-9a-f]{8}) wrote it at instruction (\d+)", said)
    assert wrote is not None, said
    assert f"stands at {wrote[1]}" in said, said
    old, new = (int(n) for n in re.findall(r"(?:Old|New) value = (\d+)", said))
    assert new < old == int(re.findall(r"ticks (\d+)", said)[0])
    with Vm.load(ready, files=files) as vm:
        vm.run(seconds=30)
        assert after == [str(vm.instructions), f"{vm.state_hash:016x}"]


def test_first_example_types_a_command_in_linux(files: dict[str, Path], openbios: Path) -> None:
    command = [
        sys.executable,
        CHECKOUT / "examples" / "boot_and_type.py",
        *files.values(),
        "guest# ",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert "exit status 0: Linux" in done.stdout, done.stdout + done.stderr
