"""Unmodified libvirt drives a gossamer guest: life, snapshots, saves, and a move between daemons.

The daemons run in session mode; as root they are put into a user namespace, where they see an
ordinary user.  The guest is the built-in one, which counts ticks of its decrementer and says when
one is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.engine.build import cache_folder
from gossamer.migrate import tls_init
from tests.conftest import program
from tests.ports import free_port
from tests.waiting import until

pytestmark = [pytest.mark.interop, pytest.mark.slow]
KEYBOARD = "<input type='keyboard' bus='usb'><alias name='ua-keys'/></input>"
DOMAIN = """\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>mac</name><uuid>11111111-2222-3333-4444-555555555555</uuid>
  <memory unit='MiB'>128</memory><vcpu>1</vcpu>
  <os><type arch='ppc' machine='g3beige'>hvm</type><boot dev='hd'/></os>
  <clock offset='utc'/>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='{folder}/hd.qcow2'/><target dev='hda' bus='ide'/></disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/>
      <source file='{folder}/a.iso'/><target dev='hdc' bus='ide'/><readonly/></disk>
    <controller type='usb' index='0' model='pci-ohci'/>
    <input type='tablet' bus='usb'/>
    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/>
    <video><model type='vga' vram='16384'/></video>
    <serial type='file'><source path='{folder}/serial.log'/><target port='0'/></serial>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline><qemu:arg value='-bios'/><qemu:arg value='builtin'/></qemu:commandline>
</domain>
"""


#: Where another system's libvirt is, as the root of a change of root; empty: the host's own.
ROOT = os.environ.get("GOSSAMER_LIBVIRT_ROOT", "")
ENTER = ["chroot", ROOT] if ROOT else []


class Daemon:
    """A libvirtd of its own, and virsh on it."""

    def __init__(self, folder: Path, letter: str, like: Daemon | None = None) -> None:
        """`like`: a daemon that has asked the emulator already what it can."""
        self.home, self.run = folder / f"home{letter}", folder / f"r{letter}"
        if like is not None:
            shutil.copytree(like.home / ".cache", self.home / ".cache", symlinks=True)
        else:  # native code that was compiled before serves here, too
            (self.home / ".cache").mkdir(parents=True)
            (self.home / ".cache" / "gossamer").symlink_to(cache_folder())
        config = self.home / ".config" / "libvirt"
        config.mkdir(parents=True)
        self.run.mkdir(mode=0o700)
        # Others, tests among them, take ports from 5900 on between its look and the bind.
        port = 10_000 + os.getpid() % 100 * 100 + (0 if like is None else 50)
        (config / "qemu.conf").write_text(
            f'stdio_handler = "file"\nsecurity_driver = "none"\n'
            f"remote_display_port_min = {port}\nremote_display_port_max = {port + 49}\n"
            f'migrate_tls_x509_cert_dir = "{folder}/pki"\nmigrate_tls_x509_verify = 1\n'
        )
        uuid = f"00000000-0000-0000-0000-00000000000{letter}"
        (config / "libvirtd.conf").write_text(f'host_uuid = "{uuid}"\n')
        self.env = os.environ | {
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.run),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "LC_ALL": "C",
        }
        self.socket = self.run / "libvirt" / "libvirt-sock"
        found = shutil.which("libvirtd", path=os.environ["PATH"] + ":/usr/sbin")
        daemon = ["/usr/sbin/libvirtd" if ROOT else found or ""]
        daemon = [*ENTER, *daemon]
        if os.geteuid() == 0:
            keep = ["--keep-caps"] if ROOT else []
            daemon = ["unshare", "-U", "--map-user=1000", "--map-group=1000", *keep, *daemon]
        command = [*daemon, "-t", "900", "-f", str(config / "libvirtd.conf")]
        self.process = subprocess.Popen(
            command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, saw=lambda: command)

    def _answers(self) -> bool:
        """Whether it takes connections: its socket's file is there before that."""
        assert self.process.poll() is None, "libvirtd has ended"
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    @property
    def uri(self) -> str:
        return f"qemu+unix:///session?socket={self.socket}"

    def virsh(self, *words: str) -> str:
        command = [*ENTER, "virsh", "-q", "-c", self.uri, *words]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=900)
        log = self.home / ".cache" / "libvirt" / "qemu" / "log" / "mac.log"
        logged = log.read_text()[-1500:] if log.exists() else ""
        assert done.returncode == 0, (words, done.stdout, done.stderr, logged)
        return done.stdout.strip()

    def state(self) -> str:
        return self.virsh("domstate", "mac")

    def close(self) -> None:
        destroy = [*ENTER, "virsh", "-q", "-c", self.uri, "destroy", "mac"]
        subprocess.run(destroy, env=self.env, capture_output=True)
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def folder(qemu_img: Path) -> Iterator[Path]:
    if not ROOT:
        program("virsh", "libvirt-clients")
    if not ROOT and shutil.which("libvirtd", path=os.environ["PATH"] + ":/usr/sbin") is None:
        program("libvirtd", "libvirt-daemon, libvirt-daemon-driver-qemu")
    # Sockets' paths are short.
    path = Path(subprocess.check_output(["mktemp", "-d", "/tmp/lvXXXXXX"], text=True).strip())
    create = [str(qemu_img), "create", "-q", "-f", "qcow2", str(path / "hd.qcow2"), "64M"]
    subprocess.run(create, check=True)
    emulator = path / "gossamer-system-ppc"
    source = Path(__file__).parents[2] / "src"
    emulator.write_text(
        f"#!/bin/sh\nPYTHONPATH='{source}' exec '{sys.executable}' -c "
        f"'import sys; from gossamer.cli import system_ppc; sys.exit(system_ppc())' \"$@\"\n"
    )
    emulator.chmod(0o755)
    (path / "mac.xml").write_text(DOMAIN.format(emulator=emulator, folder=path))
    (path / "keys.xml").write_text(KEYBOARD)
    tls_init.make(path / "pki", ["127.0.0.1"])
    for name in ("a.iso", "b.iso"):
        (path / name).write_bytes(b"CD001" + bytes(40955))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[Daemon]:
    one = Daemon(folder, "a")
    yield one
    one.close()


def ticks(folder: Path) -> tuple[int, int]:
    """The last count that the guest reported, and how many ticks it has missed."""
    text = (folder / "serial.log").read_text(errors="replace")
    assert "no tick for" not in text
    assert "time ran back" not in text
    found = re.findall(r"tick (\d+) late \d+ worst \d+ missed (\d+)", text)
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)


def goes_on(folder: Path) -> None:
    """The guest counts on, and misses nothing."""
    before = ticks(folder)[0]
    until(
        lambda: ticks(folder)[0] > before,
        saw=lambda: (before, (folder / "serial.log").read_bytes()[-300:]),
        pause=0.1,
    )
    assert ticks(folder)[1] == 0


def test_life_of_a_domain(daemon: Daemon, folder: Path) -> None:
    v = daemon.virsh
    v("define", str(folder / "mac.xml"))
    v("start", "mac")
    assert daemon.state() == "running"
    assert "-sandbox on," in log(daemon)
    goes_on(folder)
    v("suspend", "mac")
    assert daemon.state() == "paused"
    v("resume", "mac")
    v("snapshot-create-as", "mac", "one")
    assert "one" in v("snapshot-list", "mac")
    goes_on(folder)
    v("snapshot-revert", "mac", "one")
    assert daemon.state() == "running"
    v("snapshot-delete", "mac", "one")
    v("save", "mac", str(folder / "mac.save"))
    v("restore", str(folder / "mac.save"))
    goes_on(folder)
    v("managedsave", "mac")
    v("start", "mac")
    goes_on(folder)
    v("send-key", "mac", "KEY_A")
    display = v("domdisplay", "mac")
    assert display.startswith("vnc://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", 5900 + int(display.rpartition(":")[2]))) as viewer:
        viewer.settimeout(600)
        assert viewer.recv(12) == b"RFB 003.008\n"
    v("screenshot", "mac", str(folder / "screen"))
    assert (folder / "screen").read_bytes()[:2] in (b"P6", b"\x89P")
    v("attach-device", "mac", str(folder / "keys.xml"), "--live")
    assert "QEMU USB Keyboard" in v("qemu-monitor-command", "mac", "--hmp", "info usb")
    v("detach-device", "mac", str(folder / "keys.xml"), "--live")
    v("vcpupin", "mac", "0", "0")
    assert re.search(r"CPU Affinity: +y-*$", v("vcpuinfo", "mac"), re.MULTILINE)
    v("change-media", "mac", "hdc", str(folder / "b.iso"), "--update")
    assert "b.iso" in v("domblklist", "mac")
    v("change-media", "mac", "hdc", "--eject")
    assert "hda rd_req" in v("domblkstat", "mac", "hda")
    v("dump", "mac", str(folder / "core"), "--memory-only")
    assert (folder / "core").read_bytes()[:4] == b"\x7fELF"
    v("reset", "mac")
    assert "VM status: running" in v("qemu-monitor-command", "mac", "--hmp", "info status")


def log(daemon: Daemon) -> str:
    return (daemon.home / ".cache" / "libvirt" / "qemu" / "log" / "mac.log").read_text()


def test_domain_moves_between_two_daemons(daemon: Daemon, folder: Path) -> None:
    """The domain of the test before; it ends with an external snapshot, and is destroyed."""
    if "mac" not in daemon.virsh("list", "--name"):
        daemon.virsh("create", str(folder / "mac.xml"))
    other = Daemon(folder, "b", like=daemon)
    try:
        goes_on(folder)
        daemon.virsh("attach-device", "mac", str(folder / "keys.xml"), "--live")
        there = ("--live", "--unsafe", "mac", other.uri)
        daemon.virsh("migrate", *there, "--migrateuri", f"tcp://127.0.0.1:{free_port()}")
        assert other.state() == "running"
        goes_on(folder)
        back = ("--live", "--p2p", "--unsafe", "mac", daemon.uri)
        other.virsh("migrate", *back, "--migrateuri", f"unix://{folder}/move")
        assert daemon.state() == "running"
        goes_on(folder)
        # Inside TLS, with the names and both ends' certificates checked; virsh tells the downtime.
        other_way = ("--live", "--unsafe", "--tls", "mac", daemon.uri)
        inside = ("--live", "--unsafe", "--tls", "mac", other.uri)
        daemon.virsh("migrate", *inside, "--migrateuri", f"tcp://127.0.0.1:{free_port()}")
        said = other.virsh("domjobinfo", "mac", "--completed")
        assert re.search(r"Total downtime: +\d+ +ms", said), said
        other.virsh("migrate", *other_way, "--migrateuri", f"tcp://127.0.0.1:{free_port()}")
        goes_on(folder)
        daemon.virsh("detach-device", "mac", str(folder / "keys.xml"), "--live")
        over = f"hda,file={folder}/over.qcow2"
        daemon.virsh("snapshot-create-as", "mac", "out", "--disk-only", "--diskspec", over)
        assert "over.qcow2" in daemon.virsh("domblklist", "mac")
        goes_on(folder)
        daemon.virsh("destroy", "mac")
        assert daemon.state() == "shut off"
        # It starts again with both images, and goes back into the first.
        daemon.virsh("start", "mac")
        daemon.virsh("blockcommit", "mac", "hda", "--active", "--pivot", "--wait")
        assert "hd.qcow2" in daemon.virsh("domblklist", "mac")
        daemon.virsh("destroy", "mac")
    finally:
        other.close()
