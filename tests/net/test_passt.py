"""-netdev passt: its words, a passt that refuses, and the real one's DHCP."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from gossamer.base.errors import ConfigError, HostError
from gossamer.machines.net_options import parse_netdev
from gossamer.net.passt import Passt
from tests.net.test_backends import collect, serve


def test_properties_become_the_programs_words() -> None:
    text = (
        "passt,id=n0,tcp-ports=127.0.0.1/2222:22,,8080:80,mac=52:54:00:00:00:01,ipv6=off,icmp=off,"
        "tcp=on,quiet=off,param=--trace,param=--pcap=x"
    )
    values = parse_netdev(text).values
    assert values["path"] == "passt"
    assert values["words"] == [
        "--tcp-ports", "127.0.0.1/2222:22,8080:80", "--mac-addr", "52:54:00:00:00:01",
        "--ipv4-only", "--no-icmp", "--trace", "--pcap=x",
    ]  # fmt: skip
    json = '{"type": "passt", "id": "n0", "path": "/x/passt", "param": [{"str": "-d"}]}'
    values = parse_netdev(json).values
    assert (values["path"], values["words"]) == ("/x/passt", ["--quiet", "-d"])
    with pytest.raises(ConfigError, match="vhost-user=on: there is no virtio card"):
        parse_netdev("passt,id=n0,vhost-user=on")
    with pytest.raises(ConfigError, match="unknown property of -netdev passt 'hots'"):
        parse_netdev("passt,id=n0,hots=x")
    with pytest.raises(ConfigError, match="user: param is passt's"):
        parse_netdev("user,id=n0,param=x")


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_program_that_refuses_is_one_line_with_its_reason(tmp_path: Path) -> None:
    said = "echo \"Don't run as root. Changing\" >&2; echo 'Invalid port: 9' >&2; exit 1"
    with pytest.raises(HostError, match=r"^-netdev n0: passt: Invalid port: 9$"):
        Passt("n0", program(tmp_path / "a", said), [])
    with pytest.raises(HostError, match=r"^-netdev n0: passt: it ends at once$"):
        Passt("n0", program(tmp_path / "b", "exit 3"), [])
    with pytest.raises(HostError, match=f"{tmp_path}/c is not installed$"):
        Passt("n0", f"{tmp_path}/c", [])
    (tmp_path / "d").write_text("")
    with pytest.raises(HostError, match="d: Permission denied"):
        Passt("n0", f"{tmp_path}/d", [])


def test_program_that_goes_on_has_the_socket(tmp_path: Path) -> None:
    # As passt does: the first process ends when all is ready, another one goes on.
    echo, program = tmp_path / "echo", tmp_path / "echo.py"
    echo.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{program}" "$@"\n')
    program.write_text(
        "import os, sys\nfd = int(sys.argv[2])\n"
        "if os.fork() == 0:\n    os.close(1)\n    os.close(2)\n"
        "    while data := os.read(fd, 1000):\n        os.write(fd, data)\n"
    )
    echo.chmod(0o755)
    passt = Passt("n0", str(echo), [])
    found = collect(passt)
    passt.send(b"a frame that comes back")
    serve(passt, until=lambda: found)
    assert (found, passt.info) == ([b"a frame that comes back"], "passt")
    passt.close()


def test_address_from_the_real_one() -> None:
    """Where there is one that starts: not every host lets it make its namespaces."""
    from tests.net.test_user import discover

    if shutil.which("passt") is None:
        pytest.skip("passt is not installed (Debian package passt)")
    try:
        passt = Passt("n0", "passt", ["--quiet", "--address", "192.0.2.77", "--netmask", "24"])
    except HostError as fault:
        pytest.skip(f"passt does not start here: {fault}")
    found = collect(passt)
    passt.send(discover())
    serve(passt, until=lambda: any(frame[23:24] == b"\x11" for frame in found))
    offer = next(frame for frame in found if frame[23:24] == b"\x11")
    assert offer[58:62] == bytes((192, 0, 2, 77))
    passt.close()
