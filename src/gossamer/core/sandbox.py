"""A filter of system calls (Linux seccomp): what a guest that broke out could not do.

Groups and their names are those of QEMU's -sandbox.  A call that is filtered fails with EPERM.  The
program is classic BPF over `struct seccomp_data`.  Source: Linux, Documentation/userspace-api/
seccomp_filter; numbers of calls: asm/unistd_64.h (x86-64), asm-generic/unistd.h (arm64).
"""

from __future__ import annotations

import ctypes
import errno
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from gossamer.base.data import Data
from gossamer.base.errors import HostError
from gossamer.core import host

OBSOLETE: Final = "obsolete"
PRIVILEGES: Final = "elevateprivileges"
SPAWN: Final = "spawn"
RESOURCES: Final = "resourcecontrol"
#: What no emulator needs: denied whatever the groups.
ALWAYS: Final = "always"


class Host(Data):
    """One kind of host: its audit number, its `seccomp` call, and the calls of each group."""

    audit: int
    seccomp: int
    clone: int
    groups: Mapping[str, tuple[int, ...]]


_CLONE3: Final = 435
_X86: Final = Host(
    0xC000003E, 317, 56,
    {
        # reboot swapon swapoff syslog mount umount2 pivot_root kexec_load kexec_file_load
        # init_module finit_module delete_module bpf ptrace
        ALWAYS: (169, 167, 168, 103, 165, 166, 155, 246, 320, 175, 313, 176, 321, 101),
        # _sysctl create_module get_kernel_syms query_module sysfs uselib ustat
        OBSOLETE: (156, 174, 177, 178, 139, 134, 136),
        # setuid setgid setpgid setsid setreuid setregid setgroups setresuid setresgid setfsuid
        # setfsgid
        PRIVILEGES: (105, 106, 109, 112, 113, 114, 116, 117, 119, 122, 123),
        # fork vfork execve execveat; clone without CLONE_THREAD is looked at on its own
        SPAWN: (57, 58, 59, 322),
        # setpriority sched_setparam sched_setscheduler sched_setaffinity sched_setattr
        RESOURCES: (141, 142, 144, 203, 314),
    },
)  # fmt: skip
_ARM: Final = Host(
    0xC00000B7, 277, 220,
    {
        ALWAYS: (142, 224, 225, 116, 40, 39, 41, 104, 294, 105, 273, 106, 280, 117),
        OBSOLETE: (),
        PRIVILEGES: (146, 144, 154, 157, 145, 143, 159, 147, 149, 151, 152),
        SPAWN: (221, 281),
        RESOURCES: (140, 118, 119, 122, 274),
    },
)  # fmt: skip
HOSTS: Final[Mapping[str, Host]] = {"x86_64": _X86, "aarch64": _ARM}

_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _AUDIT, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _ERROR, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_CLONE_THREAD: Final = 0x0001_0000
_X32: Final = 0x4000_0000
"""Calls from here on are another set of numbers for the same calls, on x86-64."""
_NO_NEW_PRIVILEGES: Final = 38
_FILTER, _EVERY_THREAD = 1, 1


def here() -> Host | None:
    """This host, if it can filter."""
    return HOSTS.get(host.machine()) if sys.platform == "linux" else None


def program(host: Host, groups: Iterable[str]) -> bytes:
    """The filter that denies the calls of `groups`, and those that nothing here needs."""
    wanted = [ALWAYS, *groups]
    out = [
        _step(_LOAD, _AUDIT), _step(_JUMP_EQUAL, host.audit, 1, 0), _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER), _step(_JUMP_ABOVE, _X32, 0, 1), _deny(errno.EPERM),
    ]  # fmt: skip
    for group in wanted:
        for number in host.groups[group]:
            out += [_step(_JUMP_EQUAL, number, 0, 1), _deny(errno.EPERM)]
    if SPAWN in wanted:
        # The C library makes threads by clone where clone3, whose flags no filter sees, is missing.
        out += [_step(_JUMP_EQUAL, _CLONE3, 0, 1), _deny(errno.ENOSYS)]
        out += [
            _step(_JUMP_EQUAL, host.clone, 0, 3), _step(_LOAD, _FIRST_ARGUMENT),
            _step(_JUMP_SET, _CLONE_THREAD, 1, 0), _deny(errno.EPERM),
        ]  # fmt: skip
    return b"".join([*out, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _deny(error: int) -> bytes:
    return _step(_RETURN, _ERROR | error)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def enter(groups: Iterable[str]) -> None:
    """Filter the calls of every thread of this process from now on; there is no way back."""
    host = here()
    if host is None:
        raise HostError(f"-sandbox: there is no filter for {sys.platform} on this CPU")
    steps = program(host, groups)
    held = ctypes.create_string_buffer(steps, len(steps))
    made = _Program(len(steps) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise _failed()
    if libc.syscall(host.seccomp, _FILTER, _EVERY_THREAD, ctypes.byref(made)):
        raise _failed()


def _failed() -> HostError:
    why = errno.errorcode.get(ctypes.get_errno(), "an error without a number")
    return HostError(f"-sandbox: the host refuses the filter: {why}")
