"""Versions of the pseries beside QEMU 7.2: trees, answers, and a running Linux, there and back."""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer.control.globalstate import GlobalState
from gossamer.control.profiles import profile_of
from gossamer.control.stream_out import Extra, save_stream
from gossamer.control.vm import Vm
from gossamer.devices.spapr.fdt import unflatten
from gossamer.machines.build import build
from gossamer.machines.options import parse
from gossamer.machines.pseries_versions import ERAS
from gossamer.migrate.releases import release
from gossamer.verify.hops.qemu import QemuStation
from tests.conftest import program
from tests.interop.pseries import CAPS, changed_sections, loaded
from tests.machines.test_pseries import PROGRAM, elf

#: One of each kind of stream.
MEASURED = ("2.1", "2.3", "2.5", "2.7", "2.9", "3.1", "5.2", "7.2")
LISTS = {
    ("/chosen", "rng-seed"),
    ("/rtas", "ibm,hypertas-functions"),
    *(
        (path, f"ibm,drc-{what}")
        for path in ("/", "/pci", "/cpus")
        for what in ("names", "indexes")
    ),
}


@pytest.fixture(scope="module")
def qemu64() -> Path:
    return program("qemu-system-ppc64", "qemu-system-ppc")


def ours(version: str, cpu: str, *more: str) -> tuple[str, ...]:
    usual = ("-m", "256", "-nodefaults", "-nographic", "-serial", "null", "-rtc", "base=2020-01-01")
    return ("-M", f"pseries-{version}", "-cpu", cpu, *usual, "-icount", "3,sleep=off", *more)


def theirs(version: str, cpu: str, *more: str) -> tuple[str, ...]:
    machine = f"pseries-{version},x-vof=on,{CAPS[cpu]}"
    return ("-M", machine, "-cpu", cpu, "-m", "256", "-nodefaults", *more)


@pytest.mark.parametrize("version", [era.name for era in ERAS])
def test_the_tree_is_qemus(tmp_path: Path, qemu64: Path, version: str) -> None:
    """Of three CPUs: their numbers are not always neighbours."""
    same_tree(tmp_path, qemu64, version, "-smp", "3", "-nographic")


SCREENED = (
    *("-vga std -nographic", "-vga std -display none", "-device VGA"),
    *("-vga std -usb -nographic", "-usb -nographic", "-usb -device VGA -display none"),
)


@pytest.mark.parametrize("line", SCREENED)
@pytest.mark.parametrize("version", MEASURED)
def test_the_tree_with_a_display_is_qemus(
    tmp_path: Path, qemu64: Path, version: str, line: str
) -> None:
    same_tree(tmp_path, qemu64, version, *line.split())


def same_tree(tmp_path: Path, qemu64: Path, version: str, *more: str) -> None:
    """Nodes, properties and their values are QEMU's, but for what is known to differ."""
    blob, kernel, cpu = tmp_path / "blob", tmp_path / "kernel", "970mp_v1.1"
    kernel.write_bytes(elf(PROGRAM))
    both = (*more, "-kernel", str(kernel), "-append", "a=b")
    command = [str(qemu64), *theirs(version, cpu, *both), "-serial", "null"]
    command += ["-monitor", "none", "-machine", f"dumpdtb={blob}"]
    if "-nographic" not in command:
        command += ["-display", "none"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    want = {node.path: node.properties for node in unflatten(blob.read_bytes())[0].walk()}
    m = build(parse([*(word for word in ours(version, cpu) if word != "-nographic"), *both]))
    root = m.part("spapr").firmware.root  # type: ignore[attr-defined]
    found = {node.path: node.properties for node in root.walk()}
    assert list(found) == list(want)
    differs = {
        (path.partition("@")[0], name)
        for path, properties in want.items()
        for name in {*properties, *found[path]}
        if properties.get(name) != found[path].get(name)
    }
    assert differs <= LISTS
    assert {path: list(has) for path, has in found.items()} == {
        path: list(has) for path, has in want.items()
    }


def without_nodefaults(options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in options if word != "-nodefaults")


@pytest.mark.parametrize("version", ["2.9", "3.1", "7.2"])
def test_a_capture_of_the_usual_devices(shared: Path, version: str) -> None:
    """QEMU's stream of a machine that never ran: every section is written again byte for byte."""
    path = shared / "pseries" / "streams" / f"{version}-power8-S.mig.xz"
    if not path.is_file():
        pytest.skip("the shared folder has no pseries")
    stream = lzma.decompress(path.read_bytes())
    assert changed_sections(stream, without_nodefaults(ours(version, "power8"))) <= {"globalstate"}


#: And a USB controller with a keyboard and a mouse.
DISPLAY = ("-vga", "std", "-usb")


@pytest.mark.parametrize("version", [era.name for era in ERAS])
def test_a_display_goes_over_and_back(
    tmp_path: Path, start: Callable[..., QemuStation], version: str
) -> None:
    """Never started; each section written again byte for byte, and read by QEMU."""
    cpu = "power8"
    stream = sent_by(start(*theirs(version, cpu, *DISPLAY, "-S")), tmp_path / "stream")
    display = ours(version, cpu, *DISPLAY)
    assert changed_sections(stream, display) <= {"globalstate"}
    with (tmp_path / "back").open("wb") as file:
        m, qemu = loaded(stream, display), profile_of(release("qemu-7.2"))
        save_stream(m, file, Extra("globalstate", GlobalState()), qemu)
    back = (*DISPLAY, "-S", "-incoming", f"exec:cat {tmp_path}/back")
    start(*theirs(version, cpu, *back)).wait_loaded()


#: A disk, a card and an adapter.
VIRTIO = (
    *("-drive", "if=none,id=d,file={disk},format=raw", "-device", "virtio-blk-pci,drive=d"),
    *("-device", "virtio-net-pci", "-device", "virtio-scsi-pci"),
)


@pytest.mark.parametrize("version", [era.name for era in ERAS])
def test_virtio_devices_go_over_and_back(
    tmp_path: Path, start: Callable[..., QemuStation], version: str
) -> None:
    """The same of virtio devices, and their nodes in the tree."""
    cpu, disk = "power8", tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    devices = [one.format(disk=disk) for one in VIRTIO]
    station = start(*theirs(version, cpu, *devices, "-S"))
    stream = sent_by(station, tmp_path / "stream")
    station.close()
    assert changed_sections(stream, ours(version, cpu, *devices)) <= {"globalstate"}
    with (tmp_path / "back").open("wb") as file:
        m, qemu = loaded(stream, ours(version, cpu, *devices)), profile_of(release("qemu-7.2"))
        save_stream(m, file, Extra("globalstate", GlobalState()), qemu)
    back = (*devices, "-S", "-incoming", f"exec:cat {tmp_path}/back")
    start(*theirs(version, cpu, *back)).wait_loaded()


@pytest.mark.parametrize("version", MEASURED)
def test_the_tree_with_virtio_devices_is_qemus(tmp_path: Path, qemu64: Path, version: str) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    same_tree(tmp_path, qemu64, version, "-nographic", *(one.format(disk=disk) for one in VIRTIO))


@pytest.fixture(scope="module")
def guest(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options of a big-endian Linux."""
    folder = shared / "pseries" / "guest" / "ppc64"
    if not folder.is_dir():
        pytest.skip("the shared folder has no pseries")
    path = tmp_path_factory.mktemp("guest") / "vmlinux"
    path.write_bytes(lzma.decompress((folder / "vmlinux.xz").read_bytes()))
    files = ("-kernel", str(path), "-initrd", str(folder / "initramfs.cpio.gz"))
    return (*files, "-append", "console=hvc0")


@pytest.fixture
def start(qemu64: Path, tmp_path: Path) -> Iterator[Callable[..., QemuStation]]:
    started: list[QemuStation] = []

    def made(*options: str) -> QemuStation:
        path = tmp_path / str(len(started))
        path.mkdir()
        started.append(QemuStation(path, *options, program=qemu64))
        return started[-1]

    yield made
    for one in started:
        one.close()


def answers(vm: Vm) -> None:
    """The shell adds up two numbers."""
    said = bytearray()
    vm.machine.serials[0].transmit = said.extend
    vm.cont()
    for byte in b"echo $((40+2))=\r":
        vm.machine.serials[0].receive(byte)
        vm.run(until_ns=vm.clock_ns + 2_000_000)
    while b"42=" not in said and vm.instructions < 100_000_000:
        vm.run(until_ns=vm.clock_ns + 10_000_000)
    assert b"42=" in said


def sent_by(station: QemuStation, file: Path) -> bytes:
    station.command("stop")
    station.migrate(f"exec:cat > {file}")
    station.close()
    return file.read_bytes()


@pytest.mark.parametrize("cpu", CAPS)
@pytest.mark.parametrize("version", MEASURED)
def test_qemus_linux_comes_and_goes_back(
    tmp_path: Path,
    guest: tuple[str, ...],
    start: Callable[..., QemuStation],
    version: str,
    cpu: str,
) -> None:
    there_and_back(tmp_path, guest, start, theirs(version, cpu), ours(version, cpu))


@pytest.mark.parametrize("version", MEASURED)
def test_linux_among_the_usual_devices_comes_and_goes_back(
    tmp_path: Path, guest: tuple[str, ...], start: Callable[..., QemuStation], version: str
) -> None:
    """A display, USB with its keyboard and mouse, a network card, an adapter with a CD drive."""
    machines = (theirs(version, "power8"), ours(version, "power8"))
    there_and_back(tmp_path, guest, start, *(without_nodefaults(one) for one in machines))


def there_and_back(
    tmp_path: Path,
    guest: tuple[str, ...],
    start: Callable[..., QemuStation],
    its: tuple[str, ...],
    mine: tuple[str, ...],
) -> None:
    """Booted there; every section written again byte for byte; both ways it goes on."""
    station = start(*its, *guest)
    station.expect(b"guest# ", 60.0)
    file = tmp_path / "stream"
    stream = sent_by(station, file)
    assert changed_sections(stream, mine, live=True) <= {"globalstate"}
    vm = Vm(parse(list(mine)))
    vm.incoming(f"file:{file}")
    answers(vm)
    vm.migrate(f"file:{tmp_path}/back", profile="qemu-7.2")
    again = start(*its, "-incoming", f"exec:cat {tmp_path}/back")
    again.wait_loaded()
    again.type(b"echo $((40+3))=\r")
    again.expect(b"43=", 20.0)


def test_linux_boots_here_and_goes_there_and_back(
    tmp_path: Path, guest: tuple[str, ...], start: Callable[..., QemuStation]
) -> None:
    """pseries-2.9: interrupt numbers in order, large pages, no processor area in streams."""
    cpu = "power8"
    vm = Vm(parse([*ours("2.9", cpu), *guest]))
    said = bytearray()
    vm.machine.serials[0].transmit = said.extend
    while b"guest# " not in said and vm.instructions < 400_000_000:
        vm.run(instructions=5_000_000)
    assert b"GUEST READY" in said
    table = vm.machine.hash_table
    assert table is not None
    assert sum(len(data) // 16 for _, data in table.chunks()) < 2_000  # pages of 16 MiB
    vm.migrate(f"file:{tmp_path}/there", profile="qemu-7.2")
    station = start(*theirs("2.9", cpu, "-incoming", f"exec:cat {tmp_path}/there"))
    station.wait_loaded()
    station.type(b"echo $((40+3))=\r")
    station.expect(b"43=", 20.0)
    sent_by(station, tmp_path / "back")
    again = Vm(parse(list(ours("2.9", cpu))))
    again.incoming(f"file:{tmp_path}/back")
    answers(again)
