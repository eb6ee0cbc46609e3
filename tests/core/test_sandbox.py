"""The filter of system calls, in processes of their own: what it denies, and what goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gossamer.core import sandbox

pytestmark = pytest.mark.skipif(sandbox.here() is None, reason="no filter for this host")

TRIED = """
import os, threading, ctypes
from gossamer.core import sandbox
waits = threading.Event()
early = []
def look():
    waits.wait()
    early.append(tried(lambda: os.spawnlp(os.P_WAIT, "true", "true")))
def tried(call):
    try:
        return call()
    except OSError as fault:
        return fault.strerror
other = threading.Thread(target=look)
other.start()
sandbox.enter(GROUPS)
waits.set()
other.join()
late = []
threading.Thread(target=lambda: late.append("thread")).start()
while not late: pass
print(early[0], "|", tried(lambda: os.spawnlp(os.P_WAIT, "true", "true")), "|",
      tried(lambda: os.setpgid(0, 0)), "|", tried(lambda: os.setpriority(os.PRIO_PROCESS, 0, 19)),
      "|", ctypes.CDLL(None).mount(b"a", b"/", b"b", 0, None), "|", late[0], "|",
      len(open("/dev/zero", "rb").read(10)))
"""


def said(groups: str) -> list[str]:
    code = TRIED.replace("GROUPS", groups)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return [one.strip() for one in done.stdout.split("|")]


def test_every_group_denies_its_calls_in_every_thread() -> None:
    no = "Operation not permitted"
    assert said('("obsolete", "elevateprivileges", "spawn", "resourcecontrol")') == [
        no, no, no, no, "-1", "thread", "10"
    ]  # fmt: skip


def test_what_is_not_denied_works() -> None:
    assert said("()") == ["0", "0", "None", "None", "-1", "thread", "10"]


def test_both_hosts_have_every_group_and_a_program_that_ends() -> None:
    for host in sandbox.HOSTS.values():
        assert host.groups.keys() == sandbox.HOSTS["x86_64"].groups.keys()
        steps = sandbox.program(host, [sandbox.SPAWN])
        assert len(steps) % 8 == 0
        assert len(steps) // 8 < 4096
        assert steps[-8:] == bytes.fromhex("06000000") + (0x7FFF0000).to_bytes(4, sys.byteorder)
