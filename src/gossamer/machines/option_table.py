"""Every option of QEMU 7.2's qemu-system-ppc and those of gossamer's own: the one table.

The parser, the help and docs/options.md read it.  An option acts, or has no effect here (`without`
says why that is right), or is refused (`refused` says why).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gossamer.base.data import Data
from gossamer.machines import device_options
from gossamer.machines import option_actions as act
from gossamer.machines import option_objects as obj
from gossamer.machines.chardev_options import CONTROL, PRETTY, parse_mon
from gossamer.machines.draft import Draft


class Option(Data):
    """An option: its names, how its value is written (empty: it has none), and what it is for."""

    names: tuple[str, ...]
    value: str = ""
    text: str = ""
    act: act.Act | None = None
    without: str = ""
    refused: str = ""

    @property
    def spelled(self) -> str:
        return f"{', '.join(self.names)} {self.value}".rstrip()


def _o(names: str, value: str, text: str, does: act.Act) -> Option:
    return Option(tuple(names.split()), value, text, does)


def _no(names: str, value: str, why: str) -> Option:
    return Option(tuple(names.split()), value, refused=why)


def _idle(names: str, value: str, why: str) -> Option:
    return Option(tuple(names.split()), value, without=why)


def _device(draft: Draft, value: str) -> None:
    draft.devices.append(device_options.parse_device(value))


def _global(draft: Draft, value: str) -> None:
    device_options.parse_global(value, draft.globals)


_NO_WINDOW: Final = "there is no window; -vnc shows the screen"
_NO_FLOPPY: Final = "the floppy drive is not built"
_NO_9P: Final = "there is no file system shared with a guest of these machines"
_NO_SOUND: Final = "there is no sound"
_LAUNCHER: Final = "the command that starts gossamer can do that"

GROUPS: Final[dict[str, tuple[Option, ...]]] = {
    "Standard options": (
        Option(("-h", "-help"), "", "this list"),
        Option(("-version",), "", "the version"),
        _o(
            "-M -machine",
            "NAME[,PROP=VALUE…]",
            "the machine; -M help, -M NAME,help list",
            act.machine,
        ),
        _o("-cpu", "NAME", "the CPU; -cpu help lists them", act.cpu),
        _o(
            "-accel",
            "tcg[,tier=N]",
            "the engine: 0 interprets, 1 copies blocks, 2 compiles too",
            act.accel,
        ),
        _o("-smp", "N", "number of CPUs (pseries: 1 to 8)", act.smp),
        _no("-numa", "…", "the machines here have no NUMA nodes"),
        _o("-add-fd", "fd=N,set=N", "an inherited descriptor as /dev/fdset/N", obj.add_fd),
        _o("-set", "device.ID.PROP=VALUE", "a property of a -device before it", obj.set_property),
        _o("-global", "DRIVER.PROP=VALUE", "a property of every device of a kind", _global),
        _o(
            "-boot",
            "[order=]cd[,once=d]",
            "what the firmware boots from; once: until a reset",
            act.boot,
        ),
        _o("-m", "SIZE", "RAM, in MiB or with M or G", act.memory),
        _no("-mem-path", "FILE", "RAM belongs to the machine, a file of it is a save"),
        _idle("-mem-prealloc", "", "RAM is taken when a guest touches it"),
        _no("-k", "LANGUAGE", "keys come by name (sendkey), so that no layout is needed"),
        _no("-audio-help", "", _NO_SOUND),
        _o("-audio", "none", "accepted: there is no sound", obj.audio),
        _o("-audiodev", "none,id=ID", "accepted: there is no sound", obj.audiodev),
        _o(
            "-device",
            "DRIVER[,PROP=VALUE…]",
            "adds a device; -device help, DRIVER,help list",
            _device,
        ),
        _o("-name", "NAME", "what the machine is called", act.name),
        _o("-uuid", "UUID", "its UUID, which the firmware gets", act.uuid),
    ),
    "Block device options": (
        _no("-fda", "FILE", _NO_FLOPPY),
        _no("-fdb", "FILE", _NO_FLOPPY),
        _o("-hda", "FILE", "hard disk 0, raw or qcow2", act.image_at(0, "disk", "-hda")),
        _o("-hdb", "FILE", "hard disk 1", act.image_at(1, "disk", "-hdb")),
        _o("-hdc", "FILE", "hard disk 2", act.image_at(2, "disk", "-hdc")),
        _o("-hdd", "FILE", "hard disk 3", act.image_at(3, "disk", "-hdd")),
        _o("-cdrom", "FILE", "a disc in the CD drive", act.image_at(2, "cdrom", "-cdrom")),
        _o(
            "-blockdev",
            "NODE",
            "a node of an image, as libvirt writes it",
            lambda draft, value: draft.nodes.add(value),
        ),
        _o("-drive", "file=FILE[,PROP=VALUE…]", "a disk or CD drive", act.drive),
        _no("-mtdblock", "FILE", "the machines here have no flash"),
        _no("-sd", "FILE", "the machines here have no SD card"),
        _o("-snapshot", "", "writes to disks are lost at the end", act.flag("snapshot", True)),
        _no("-fsdev", "…", _NO_9P),
        _no("-virtfs", "…", _NO_9P),
        _no("-iscsi", "…", "images are files of this host"),
    ),
    "USB options": (
        _o("-usb", "", "the USB controller; mac99 and pseries have it anyway", act.usb),
        _o("-usbdevice", "keyboard|mouse|tablet", "a device on it", act.usb_device),
    ),
    "Display options": (
        _o("-display", "none|vnc=…", "no display is shown; vnc=: as -vnc", act.display),
        _o(
            "-nographic",
            "",
            "no display; the terminal is the serial port's and the monitor's",
            act.flag("graphic", False),
        ),
        _no("-spice", "…", "there is no SPICE"),
        _no("-portrait", "", _NO_WINDOW),
        _no("-rotate", "DEGREES", _NO_WINDOW),
        _o("-vga", "std|none", "the display adapter", act.text_of("vga")),
        _no("-full-screen", "", _NO_WINDOW),
        _o("-g", "WxH[xDEPTH]", "resolution that the firmware sets", act.resolution),
        _o(
            "-vnc",
            "HOST:DISPLAY[,PROP=VALUE…]",
            "shows the screen to VNC viewers; also unix:PATH",
            act.vnc,
        ),
        _o(
            "-web",
            "[HOST:]PORT[,PROP=VALUE…]",
            "a page for browsers: screen, consoles, discs, snapshots",
            act.web,
        ),
    ),
    "Network options": (
        _o(
            "-netdev",
            "user|stream|dgram|socket|tap,id=ID…",
            "what a card's cable leads to",
            act.netdev,
        ),
        _o(
            "-nic",
            "none|[user,…][,model=CARD][,mac=…]",
            "the network card and its network; without one it has no cable",
            act.nic,
        ),
        _o(
            "-net",
            "none|nic[,model=…]",
            "the same in an older spelling",
            lambda draft, value: draft.nics.append(("-net", value)),
        ),
    ),
    "Character device options": (
        _o(
            "-chardev",
            "KIND,id=ID[,PROP=VALUE…]",
            "null, stdio, file, socket or pty, for others to name",
            lambda draft, value: draft.chardevs.add(value),
        ),
    ),
    "TPM options": (_no("-tpmdev", "…", "the machines here have no TPM"),),
    "Boot image options": (
        _o(
            "-bios",
            "FILE",
            "firmware; a name that begins with builtin: a guest of gossamer's own",
            act.text_of("bios"),
        ),
        _no("-pflash", "FILE", "the machines here have no flash; use -bios"),
        _o(
            "-kernel",
            "FILE",
            "a kernel to boot: ELF, also gzipped, zImage, uImage",
            act.path_of("kernel"),
        ),
        _o("-append", "WORDS", "its command line", act.text_of("append")),
        _o("-initrd", "FILE", "its initial RAM disk", act.path_of("initrd")),
        _no("-dtb", "FILE", "the firmware makes the device tree"),
    ),
    "Debug and expert options": (
        _o("-compat", "deprecated-input=accept", "accepted: nothing is deprecated", obj.compat),
        _o("-fw_cfg", "NAME,string=TEXT|file=FILE", "an entry for the firmware", obj.fw_cfg),
        _o(
            "-serial",
            "DEVICE",
            "where a serial port goes; may be repeated",
            lambda draft, value: draft.serials.append(value),
        ),
        _o("-parallel", "none", "accepted: the machines here have no parallel port", act.parallel),
        _o(
            "-monitor",
            "DEVICE",
            "where a monitor is; may be repeated",
            lambda draft, value: draft.monitors.append(value),
        ),
        _o(
            "-qmp",
            "DEVICE",
            "where programs speak QMP; may be repeated",
            lambda draft, value: draft.monitors.append(CONTROL + value),
        ),
        _o(
            "-qmp-pretty",
            "DEVICE",
            "the same, laid out for a person to read",
            lambda draft, value: draft.monitors.append(CONTROL + PRETTY + value),
        ),
        _o(
            "-mon",
            "chardev=ID",
            "a monitor on a -chardev",
            lambda draft, value: draft.monitors.append(parse_mon(value)),
        ),
        _no("-debugcon", "DEVICE", "the machines here have no debug port"),
        _o("-pidfile", "FILE", "the process's number, while it runs", act.path_of("pidfile")),
        _idle("-singlestep", "", "every stop is between two instructions anyway"),
        _no("-preconfig", "", "a machine is whole from the start"),
        _o("-S", "", "wait for the monitor's cont", act.flag("start", False)),
        _o("-overcommit", "mem-lock=off", "accepted: off is all there is", obj.overcommit),
        _o("-gdb", "DEVICE", "gdb's server, as tcp::1234 or unix:PATH", act.gdb),
        _o("-s", "", "the same as -gdb tcp::1234", act.gdb_here),
        _o("-qtest", "DEVICE", "the server of QEMU's device tests", act.text_of("qtest")),
        _o("-qtest-log", "FILE", "what it and its client say", act.path_of("qtest_log")),
        _o(
            "-d",
            "guest_errors|unimp",
            "records what chips note of unexpected accesses",
            obj.log_items,
        ),
        _o("-D", "FILE", "where records go instead of standard error", obj.log_file),
        _no("-dfilter", "RANGE", "records are by chip: -trace PATTERN"),
        _idle("-seed", "NUMBER", "nothing that a guest sees is random"),
        _o(
            "-L",
            "FOLDER",
            "where to look for firmware; may be repeated",
            lambda draft, value: draft.folders.append(Path(value)),
        ),
        _no("-enable-kvm", "", "gossamer runs guests itself; leave it out"),
        _o("-no-reboot", "", "a guest's reset ends the emulator", act.flag("reboot", False)),
        _o(
            "-no-shutdown", "", "a guest's power-off stops the machine", act.flag("shutdown", False)
        ),
        _o(
            "-action",
            "reboot=…,shutdown=…",
            "the same: reset or shutdown, poweroff or pause",
            obj.action,
        ),
        _o("-loadvm", "TAG", "start from a snapshot", act.text_of("loadvm")),
        _o(
            "-daemonize",
            "",
            "go to the background when sockets listen",
            act.flag("daemonize", True),
        ),
        _no("-option-rom", "FILE", "the option ROMs are those that are found (-L)"),
        _o("-rtc", "base=…[,restore=…]", "date at power on; what clocks do over -loadvm", act.rtc),
        _o(
            "-icount",
            "shift=N[,sleep=off]",
            "deterministic time: 2^N ns an instruction",
            act.icount,
        ),
        _o(
            "-watchdog-action",
            "ACTION",
            "accepted: the machines here have no watchdog",
            obj.watchdog_action,
        ),
        _o("-echr", "CODE", "the escape key of a shared terminal instead of C-a", obj.echr),
        _o("-incoming", "URI", "start from a migration", act.text_of("incoming")),
        _idle("-only-migratable", "", "everything here can be saved and migrated"),
        _o("-nodefaults", "", "nothing that is not asked for", act.nodefaults),
        _no("-chroot", "FOLDER", _LAUNCHER),
        _no("-runas", "USER", _LAUNCHER),
        _o("-prom-env", "NAME=VALUE", "a variable of the firmware; may be repeated", act.prom_env),
        _o(
            "-sandbox",
            "on[,GROUP=deny…]",
            "deny system calls: obsolete, elevateprivileges, spawn, resourcecontrol",
            obj.sandbox,
        ),
        Option(("-readconfig",), "FILE", "options from a file of QEMU's"),
        _idle("-no-user-config", "", "there is no file of a user's options"),
        _o("-trace", "PATTERN[,file=FILE]", "records what chips whose path fits note", obj.trace),
        _no("-plugin", "FILE", "there are no plugins of the translator"),
        _idle("-async-teardown", "", "memory is given back at once"),
        _o("-msg", "timestamp=on", "accepted: messages carry no time", obj.message_format),
        _o(
            "-dump-vmstate",
            "FILE",
            "write the description of the state, and end",
            act.path_of("dump_vmstate"),
        ),
        _idle("-enable-sync-profile", "", "there are no locks to measure"),
        _o(
            "-object",
            "KIND,id=ID[,PROP=VALUE…]",
            "tls-creds-x509, authz-simple, secret or memory-backend-ram",
            obj.make_object,
        ),
    ),
    "gossamer's own": (
        _o(
            "-no-repair",
            "",
            "take a stream of QEMU to the letter, mend nothing",
            act.flag("repair", False),
        ),
    ),
}

#: By name.
OPTIONS: Final = {name: o for group in GROUPS.values() for o in group for name in o.names}
