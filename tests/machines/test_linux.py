"""Linux, a program from outside: every way to boot it, its tests, and its disk across saves."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer.block import create
from gossamer.control.talk import Talk
from gossamer.control.vm import Vm
from gossamer.machines.options import parse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
OPTIONS = ("-m", "256", "-nographic", "-serial", "null", "-monitor", "none")
#: What `selfcheck` says of AltiVec.
VECTORS = {"g3beige": "-", "mac99": "fa58760a"}
BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def guests(shared, tmp_path_factory) -> Path:
    """The guest's files, unpacked."""
    folder = tmp_path_factory.mktemp("guests")
    there = shared / "guests"
    for name in ("macguest.img", "macguest.iso", "zImage.initrd.pmac"):
        with lzma.open(there / f"{name}.xz") as packed, (folder / name).open("wb") as out:
            shutil.copyfileobj(packed, out)
    with gzip.open(there / "vmlinux.gz") as packed, (folder / "vmlinux").open("wb") as out:
        shutil.copyfileobj(packed, out)
    shutil.copy(there / "initramfs.cpio.gz", folder)
    return folder


@pytest.fixture(params=["g3beige", "mac99"])
def machine(request) -> str:
    return request.param


@pytest.fixture
def run(machine, openbios, tmp_path, monkeypatch):
    """Starts machines; closes them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made: list[Vm] = []

    def start(*options: object) -> Talk:
        made.append(Vm(parse(["-M", machine, *OPTIONS, *map(str, options)])))
        return Talk(made[-1])

    yield start
    for vm in made:
        vm.disks.abandon()


def ready(talk: Talk, seconds: float = 300) -> Talk:
    talk.expect("GUEST READY", seconds)
    talk.expect("guest# ")
    return talk


def kernel(guests: Path, line: str = "console=ttyPZ0") -> tuple[object, ...]:
    initrd = guests / "initramfs.cpio.gz"
    return "-kernel", guests / "vmlinux", "-initrd", initrd, "-append", line


def test_kernel_and_the_guests_own_tests(guests, machine, run):
    talk = ready(run(*kernel(guests)))
    _, said = talk.command("selfcheck -n 3", 120)
    for chain in ("34d4bdbe", "00438077", "05486108"):
        right = f"int=38c318a5 fp=6dd83f22bde24e82 vec={VECTORS[machine]} chain={chain} ok"
        assert right in said
    status, said = talk.command("ticks -n 10 -g 1000", 300)
    assert status == 0
    assert "ticks t=10 " in said
    assert not {"GAP", "BACK", "STEP"} & set(said.split())
    status, said = talk.command("mffstest")
    assert (status, said) == (0, "mffstest mffs=ok mffsce=ok mffscrn=ok mffscrni=ok mffsl=ok")
    status, said = talk.command("bench -t 0.2 all", 300)
    assert status == 0
    names = {line.split()[1] for line in said.splitlines() if line.startswith("bench ")}
    assert {"mips.alu", "dhry.loops", "linpack.100", "mem.copy", "fork.shell"} <= names


@pytest.mark.parametrize(
    ("machine", "cpu", "vectors"),
    [
        ("g3beige", "604e", "vec=-"),
        ("mac99", "7447a", "vec=fa58760a"),
        ("mac99", "7455", "vec=fa58760a"),
    ],
)
def test_other_cpus(guests, run, machine, cpu, vectors):
    talk = ready(run("-M", machine, "-cpu", cpu, *kernel(guests)))
    _, said = talk.command("cat /proc/cpuinfo")
    assert cpu.upper() in said.upper()
    _, said = talk.command("selfcheck -n 1", 120)
    assert f"int=38c318a5 fp=6dd83f22bde24e82 {vectors} chain=34d4bdbe ok" in said


@pytest.mark.parametrize(
    ("options", "device"),
    [(("-boot", "d", "-cdrom", "macguest.iso"), "sr0"), (("-hda", "macguest.img"), "sda2")],
)
def test_grub_on_cd_and_disk(guests, run, monkeypatch, options, device):
    monkeypatch.chdir(guests)
    talk = ready(run(*options))
    assert "GRUB" in talk.text
    # On a busy host the kernel may still be looking at the CD.
    found = f'case "$(cat /proc/partitions)" in *{device}*) true;; *) false;; esac'
    talk.command(f"n=0; until {found} || [ $n = 20 ]; do n=$((n+1)); sleep 1; done", 120)
    status, said = talk.command("cat /proc/partitions")
    assert device in said.split()
    status, said = talk.command(f"dd if=/dev/{device} of=/dev/null bs=64k count=64")
    assert status == 0


@pytest.mark.parametrize("machine", ["mac99,via=pmu", "mac99,via=pmu-adb"], indirect=True)
def test_kernel_with_a_pmu(guests, machine, run):
    # The kernel finds the USB devices late, and its lines cut those of programs in two.
    talk = ready(run(*kernel(guests, "console=ttyPZ0 quiet")))
    _, said = talk.command("selfcheck -n 1", 60)
    assert "vec=fa58760a chain=34d4bdbe ok" in said
    _, said = talk.command("hwclock -r 2>&1; cat /proc/interrupts")
    assert "PMU" in said
    assert "nobody cared" not in talk.text
    talk.send("poweroff\n")
    talk.run(60)
    assert talk.vm.run_state == "shutdown"


def test_openbios_prompt_boots_the_zimage(guests, run):
    options = "-hda", guests / "macguest.img", "-snapshot", "-prom-env", "auto-boot?=false"
    talk = run(*options)
    talk.expect("0 > ")
    talk.send("boot hd:,\\boot\\zimage console=ttyPZ0\r")
    ready(talk)


def test_guest_powers_off_and_restarts(guests, run):
    talk = ready(run(*kernel(guests)))
    talk.send("reboot\n")
    ready(talk)
    talk.send("poweroff\n")
    talk.run(60)
    assert talk.vm.run_state == "shutdown"


def test_busy_guest_goes_on_from_a_snapshot(guests, run, tmp_path):
    # The shell compares: lines of `ticks` come in between what a command prints.
    holds_before = '[ "$(sort -u /mnt/file)" = before ]'
    path = tmp_path / "disk.qcow2"
    create(path, "qcow2", 64 << 20)
    options = *kernel(guests), "-hda", path
    talk = ready(run(*options))
    status, _ = talk.command("mke2fs /dev/sda >/dev/null && mount /dev/sda /mnt")
    assert status == 0
    talk.send("ticks -g 1500 & yes before | head -n 100000 > /mnt/file; sync\n")
    talk.expect("ticks t=3 ")
    talk.command("true")
    talk.vm.savevm("one")
    assert talk.command("yes after | head -n 100000 > /mnt/file; sync")[0] == 0
    talk.run(3)
    talk.vm.loadvm("one")
    assert talk.command(holds_before)[0] == 0
    talk.expect(r"ticks t=\d+ ")
    assert "GAP" not in talk.text
    talk.vm.close()

    again = run(*options)
    again.vm.loadvm("one", "continue")
    again.vm.cont()
    gap = float(again.expect(r"ticks GAP \w+ ([\d.]+) ms")[1])
    assert gap > 1500
    assert again.command(f"{holds_before} && umount /mnt")[0] == 0


@pytest.mark.skipif(shutil.which("mke2fs") is None, reason="mke2fs is not installed")
def test_disk_survives_save_quit_load(guests, machine, qemu_img, openbios, tmp_path):
    """bench/disk_cycles.py, short."""
    done = subprocess.run(
        [
            *(
                sys.executable,
                BENCH / "disk_cycles.py",
                "--machine",
                machine,
                "--cycles",
                "4",
                "--icount",
                "5",
                "--seconds",
                "1",
            ),
            *("--kernel", guests / "vmlinux", "--initrd", guests / "initramfs.cpio.gz"),
            *("--log", tmp_path / "log"),
        ],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"troubles": 0' in done.stdout
