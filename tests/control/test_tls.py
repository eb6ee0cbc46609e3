"""Transfers inside TLS: both ends verified; every refusal is one line and the guest goes on."""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="the extra tls is not installed")

from gossamer import cli
from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.control.session import Session
from gossamer.control.vm import Vm
from gossamer.machines.options import parse
from gossamer.migrate import tls_init
from gossamer.migrate.channels import Channel, Limits, Listener
from gossamer.migrate.tls import Credentials, TlsChannel
from gossamer.verify.hops.qemu import QemuStation
from tests.control.test_postcopy import Beside, Move

LINE = ["-M", "bare", "-m", "4", "-serial", "null", "-bios", "builtin", "-icount", "0,sleep=off"]
PATIENT = Limits(meet=600.0, stall=600.0, total=600.0)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    tls_init.make(folder, ["mac.example", "127.0.0.1"])
    return folder


def machine(folder: Path, endpoint: str, **parameters: str) -> Vm:
    vm = Vm(parse(LINE))
    vm.transfers.tls.add("tls-creds-x509", "tls0", {"dir": str(folder), "endpoint": endpoint})
    vm.transfers.tls.creds = "tls0"
    for name, value in parameters.items():
        setattr(vm.transfers.tls, name, value)
    return vm


class Taker(threading.Thread):
    def __init__(self, vm: Vm, listener: Listener) -> None:
        super().__init__(daemon=True)
        self.vm, self.listener, self.fault = vm, listener, ""
        self.start()

    def run(self) -> None:
        try:
            self.vm.incoming(self.listener, limits=PATIENT)
        except GossamerError as fault:
            self.fault = str(fault)


def move(sender: Vm, taker: Vm, folder: Path) -> tuple[str, str]:
    """What each side says; the sender's guest is as it was unless both are content."""
    sender.run(instructions=20_000)
    before = sender.state_hash()
    there = Taker(taker, Listener(f"unix:{folder}/m", PATIENT))
    said = ""
    try:
        sender.migrate(f"unix:{folder}/m", limits=PATIENT)
    except GossamerError as fault:
        said = str(fault)
    there.join(600)
    assert not there.is_alive()
    assert "\n" not in said + there.fault
    if not said:
        assert taker.state_hash() == before
    else:
        assert sender.run_state == "running"
        assert sender.state_hash() == before
    return said, there.fault


def test_a_machine_goes_through_tls(pki: Path, tmp_path: Path) -> None:
    sender = machine(pki, "client", hostname="mac.example")
    assert move(sender, machine(pki, "server"), tmp_path) == ("", "")


def test_every_connection_of_several_is_inside_tls(pki: Path, tmp_path: Path) -> None:
    sender, taker = machine(pki, "client", hostname="mac.example"), machine(pki, "server")
    for vm in (sender, taker):
        vm.transfers.capabilities.add("multifd")
    assert move(sender, taker, tmp_path) == ("", "")


def test_memory_that_follows_is_asked_for_inside_tls(pki: Path, tmp_path: Path) -> None:
    """One thread reads the connection while another writes to it; mended, it is TLS again."""
    sender, taker = machine(pki, "client", hostname="mac.example"), machine(pki, "server")
    for vm in (sender, taker):
        vm.transfers.capabilities.add("postcopy-ram")
    sender.run(instructions=20_000)
    sender.cont()
    move = Move(sender, tmp_path, taker)
    taker.run(instructions=10_000)
    following = Beside(move.follows.pop())
    taker.transfers.pause()
    move.recover("again")
    assert move.coming.channel is not None
    assert move.coming.channel.name.endswith("(TLS)")
    taker.run(instructions=10_000)
    move.end()
    following.join(600)
    alone = Vm(parse(LINE))
    alone.run(instructions=40_000)
    assert taker.state_hash() == alone.state_hash()


def test_a_peer_that_stalls_inside_tls_is_given_up(pki: Path) -> None:
    ends = socket.socketpair()
    limits = Limits(meet=600.0, stall=600.0, total=600.0)
    plain = [Channel(end.detach(), "x", limits, two_way=True) for end in ends]
    made: list[TlsChannel] = []
    server = threading.Thread(
        target=lambda: made.append(TlsChannel(plain[0], Credentials(pki, "server")))
    )
    server.start()
    with TlsChannel(plain[1], Credentials(pki, "client"), host="mac.example") as client:
        server.join(600)
        client.limits = Limits(meet=600.0, stall=0.1, total=600.0)
        with pytest.raises(HostError, match="the peer sends nothing for"):
            client.read()
    made[0].close()


def test_the_bytes_on_the_way_are_not_the_machine(pki: Path, tmp_path: Path) -> None:
    plain = Vm(parse(LINE))
    said, there = move(machine(pki, "client", hostname="mac.example"), plain, tmp_path)
    assert said
    assert "not a QEMU stream" in there


@pytest.mark.parametrize("case", ["name", "authority", "expired", "plain", "authz", "no client"])
def test_refused_in_one_line_and_the_guest_goes_on(case: str, pki: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    sender = machine(pki, "client", hostname="mac.example")
    taker = machine(pki, "server")
    if case == "name":
        sender.transfers.tls.hostname = "evil.example"
    elif case == "authority":
        tls_init.make(other, ["mac.example"])
        taker = machine(other, "server")
    elif case == "expired":
        tls_init.make(other, ["mac.example"], days=0)
        sender = machine(other, "client", hostname="mac.example")
        taker = machine(other, "server")
    elif case == "plain":
        sender = Vm(parse(LINE))
    elif case == "authz":
        taker.transfers.tls.add("authz-simple", "a", {"identity": "O=gossamer,CN=other"})
        taker.transfers.tls.authz = "a"
    else:  # a client with a certificate of another authority
        tls_init.make(other, ["mac.example"])
        shutil.copy(pki / "ca-cert.pem", other / "ca-cert.pem")
        sender = machine(other, "client", hostname="mac.example")
    said, there = move(sender, taker, tmp_path)
    assert said
    assert there
    words = {"name": "Hostname mismatch", "expired": "expired", "authz": "", "plain": ""}
    assert words.get(case, "") in said
    if case == "authz":
        assert "'O=gossamer,CN=sender' is not authorized" in there


def test_authorized_by_name(pki: Path, tmp_path: Path) -> None:
    taker = machine(pki, "server", authz="a")
    taker.transfers.tls.add("authz-simple", "a", {"identity": "O=gossamer,CN=sender"})
    sender = machine(pki, "client", hostname="mac.example")
    assert move(sender, taker, tmp_path) == ("", "")


def bad(kind: str = "tls-creds-x509", name: str = "x", **values: Any) -> str:
    with pytest.raises(ConfigError) as fault:
        Vm(parse(LINE)).transfers.tls.add(kind, name, values)
    return str(fault.value)


def test_objects_that_cannot_be(pki: Path, tmp_path: Path) -> None:
    assert "Unable to access credentials" in bad(dir=str(tmp_path), endpoint="client")
    assert "endpoint is client or server" in bad(dir=str(pki), endpoint="both")
    assert "no property 'colour'" in bad(dir=str(pki), colour="red")
    assert "there is tls-creds-x509" in bad("tls-creds-psk")
    (tmp_path / "ca-cert.pem").write_text("no certificate")
    for name in ("client-cert.pem", "client-key.pem"):
        shutil.copy(pki / name, tmp_path / name)
    assert "is no certificate of an authority" in bad(dir=str(tmp_path), endpoint="client")


def test_what_does_not_fit_is_refused_before_anything(pki: Path) -> None:
    vm = machine(pki, "server")
    with pytest.raises(ConfigError, match="is for a server, a client is needed here"):
        vm.migrate("unix:/nowhere")
    vm = machine(pki, "client")
    with pytest.raises(ConfigError, match="set tls-hostname"):
        vm.migrate("unix:/nowhere")
    vm.transfers.tls.hostname = "x"
    with pytest.raises(HostError, match="cannot connect"):
        vm.migrate("unix:/nowhere")


def test_init_writes_over_nothing_and_keys_are_private(pki: Path) -> None:
    with pytest.raises(ConfigError, match="there is an authority already"):
        tls_init.make(pki)
    for path in pki.glob("*-key.pem"):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.interop
@pytest.mark.parametrize("further", [False, True])
@pytest.mark.parametrize("way", ["from QEMU", "to QEMU"])
def test_with_qemu_7_2(
    way: str, further: bool, pki: Path, tmp_path: Path, qemu: Path, openbios: Path
) -> None:
    """`further`: with the capability multifd, each connection inside TLS."""
    common = ("-M", "g3beige", "-m", "16", "-nic", "none", "-vga", "none", "-nographic")
    mine = Vm(parse([*common, "-serial", "null", "-icount", "5,sleep=off"]))
    ours = "server" if way == "from QEMU" else "client"
    theirs = "client" if ours == "server" else "server"
    mine.transfers.tls.add("tls-creds-x509", "t", {"dir": str(pki), "endpoint": ours})
    mine.transfers.tls.creds, mine.transfers.tls.hostname = "t", "mac.example"
    creds = f"tls-creds-x509,id=t,dir={pki},endpoint={theirs},verify-peer=on"
    waiting = ("-incoming", "defer") if way == "to QEMU" else ()
    with QemuStation(tmp_path, *common, "-object", creds, *waiting) as station:
        station.command(
            "migrate-set-parameters", **{"tls-creds": "t", "tls-hostname": "mac.example"}
        )
        if further:
            on = [{"capability": "multifd", "state": True}]
            station.command("migrate-set-capabilities", capabilities=on)
            mine.transfers.capabilities.add("multifd")
        uri = f"unix:{tmp_path}/m"
        if way == "to QEMU":
            mine.run(instructions=200_000)
            station.command("migrate-incoming", uri=uri)
            mine.migrate(uri, profile="qemu-7.2")
            assert station.wait_loaded() in ("running", "paused")
        else:
            listener = Listener(uri, PATIENT)
            station.command("migrate", uri=uri)
            received = mine.incoming(listener)
            assert received.foreign
            station.wait_sent()


# --- places beyond this host ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "warned"),
    [
        ("tcp:127.0.0.1:0", False), ("tcp:[::1]:0", False), ("tcp::0", False),
        ("tcp:0.0.0.0:0", True), ("tcp:[::]:0", True), ("unix:{folder}/m", False),
    ],
)  # fmt: skip
def test_listening_beyond_loopback_without_tls_says_so(
    uri: str, warned: bool, pki: Path, tmp_path: Path
) -> None:
    warnings: list[str] = []
    for secure in (False, True):
        vm = machine(pki, "server") if secure else Vm(parse(LINE))
        session = Session(vm, spawn=lambda steps: (next(steps), steps.close()))
        session.report = warnings.append
        session.take_in(uri.format(folder=tmp_path))
    assert len(warnings) == int(warned)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tls", "init", str(tmp_path / "pki"), "mac.example"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert cli.main(["tls", "init", str(tmp_path / "pki")]) == 2
    assert "there is an authority already" in capsys.readouterr().err
