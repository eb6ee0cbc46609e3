"""The command line: `gossamer COMMAND …` and `gossamer-system-ppc`, which takes QEMU's options.

What a command needs is imported when it is called, so that `--help` is quick.  Exit status: 0 fine,
1 something was found, 2 bad input (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gossamer.base.errors import ConfigError, GossamerError
from gossamer.base.version import VERSION

if TYPE_CHECKING:
    from gossamer.machines.config import Config

BAD_INPUT: Final = 2
INTERRUPTED: Final = 130
#: Where gossamer was tried (docs/hosts.md).  macOS was not, and yet may be tried.
HOSTS: Final = (
    ("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"), ("Darwin", "x86_64"),
)  # fmt: skip
USAGE: Final = """\
usage: gossamer COMMAND ...

{commands}

gossamer COMMAND --help says more.  gossamer-system-ppc OPTIONS is gossamer run OPTIONS,
gossamer-system-ppc64 OPTIONS the same with -M pseries.
"""
RUN_HELP: Final = """\
usage: gossamer run [OPTIONS] [DISK]

Runs a Power Macintosh.  The options are QEMU's; docs/options.md has all of them:

{options}
Without options: a g3beige with OpenBIOS on this terminal.  C-a h shows the escape keys.
"""
DEMO_HELP: Final = """\
usage: gossamer demo [openbios|linux|web] [OPTIONS]

Without a word: a program of gossamer's own counts the ticks of its decrementer while its machine is
saved, destroyed and loaded in a new process every second; then the same with saves that leave out
what QEMU 7.2's leave out.  --hops N, --lossy (that part only), -M g3beige, mac99 or bare.

  openbios  a g3beige to the prompt of its firmware
  linux     Linux on a g3beige: -kernel FILE, -initrd FILE, -append WORDS; files not given are
            $GOSSAMER_LINUX_KERNEL and $GOSSAMER_LINUX_INITRD, or what gossamer guest build linux
            has made, or vmlinux.gz and initramfs.cpio.gz in shared/guests beside the checkout.
            Where there is none, it is offered to build one; --yes agrees
  web       the machine in a browser: a program of gossamer's own, or what OPTIONS start
            (web linux: Linux, as above)

OPTIONS are those of gossamer run.  C-a x ends openbios and linux, C-c the rest.
"""


class Command(NamedTuple):
    """A command: its line in the help, and what does it."""

    text: str
    run: Callable[[list[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `gossamer`; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: dispatch(words))


def system_ppc(argv: Sequence[str] | None = None) -> int:
    """Entry point of `gossamer-system-ppc`."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: run(words))


def system_ppc64(argv: Sequence[str] | None = None) -> int:
    """Entry point of `gossamer-system-ppc64`: the same, with QEMU's default machine there."""
    words = list(sys.argv[1:] if argv is None else argv)
    named = any(word.lstrip("-").partition("=")[0] in ("M", "machine") for word in words)
    return guarded(lambda: run(words if named else ["-M", "pseries", *words]))


def guarded(action: Callable[[], int]) -> int:
    """Do `action`; what goes wrong on purpose becomes one line and an exit status."""
    try:
        check_platform()
        status = action()
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except GossamerError as fault:
        line = " ".join(str(fault).split())
        print(f"gossamer: {line}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return 0
    except OSError as fault:
        where = fault.filename or "standard output or a temporary file"
        print(f"gossamer: {where}: {fault.strerror or fault}", file=sys.stderr)
        _forget_output()
        return BAD_INPUT


def _forget_output() -> None:
    """What is still buffered for a reader that has gone, or has no room, must not fail at exit."""
    import os

    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_platform(
    version: tuple[int, ...] = sys.version_info[:2], system: str = "", machine: str = ""
) -> None:
    """ConfigError where gossamer cannot run; by default looks at where it is."""
    import os

    here = os.uname()
    system, machine = system or here.sysname, machine or here.machine
    if version < (3, 11):
        found = ".".join(map(str, version))
        raise ConfigError(f"needs Python 3.11 or newer, this is {found}")
    if (system, machine) not in HOSTS:
        known = ", ".join(f"{one} on {kind}" for one, kind in HOSTS)
        raise ConfigError(f"runs with {known}; this is {system} on {machine}")


def dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "-help", "help"):
        lines = "\n".join(f"  {name:8} {command.text}" for name, command in COMMANDS.items())
        print(USAGE.format(commands=lines), end="")
        return 0 if words else BAD_INPUT
    if words[0] in ("-V", "--version", "-version"):
        print(f"gossamer {VERSION}")
        return 0
    if words[0] not in COMMANDS:
        from gossamer.machines.config import unknown

        raise unknown("command", words[0], COMMANDS)
    return COMMANDS[words[0]].run(words[1:])


# --- run and demo -------------------------------------------------------------------------------


def wants_help(words: list[str]) -> bool:
    return any(word in ("-h", "-help", "--help") for word in words)


def run(words: list[str]) -> int:
    """`gossamer run`: a machine from QEMU's options."""
    with uncollected():
        from gossamer.machines import options

        if wants_help(words):
            from gossamer.machines.option_help import help_text

            print(RUN_HELP.format(options=help_text()), end="")
            return 0
        if words[:1] in (["-version"], ["--version"]):
            return dispatch(["--version"])
        from gossamer.machines import machine_options

        text = machine_options.asked(words)
        if text is not None:
            print(text, end="")
            return 0
        return start(options.parse(words))


@contextmanager
def uncollected() -> Iterator[None]:
    """What is made until the machine runs stays: the garbage collector need not look at it.

    `run_machine` switches it on again.  At the end of the process all memory goes at once.
    """
    import atexit
    import gc

    gc.disable()
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.enable()  # it may have come to nothing, and the process may go on


def start(config: Config) -> int:
    """Build the machine and run it until it ends."""
    import os

    # A thread of numpy's for matrices would spin for 20 ms beside each start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with uncollected():
        ready = _nothing
        if config.daemonize:
            from gossamer.front.daemon import detach

            ready = detach(config.inherited_fds)
        from gossamer.front.console import Console
        from gossamer.front.session import run_machine

        with written_pid(config), Console(config) as console:
            console.end_with_process()
            if console.controlled:
                return console.beside(lambda: run_machine(config, console, ready))
            return run_machine(config, console, ready)


def _nothing() -> None:
    """What a machine in the foreground does when it is ready."""


def written_pid(config: Config) -> Any:  # noqa: ANN401 - a context
    """The file of -pidfile while the machine is there."""
    from contextlib import ExitStack

    from gossamer.base.errors import HostError

    stack = ExitStack()
    if config.pidfile is not None:
        import os

        try:
            config.pidfile.write_text(f"{os.getpid()}\n")
        except OSError as fault:
            raise HostError(f"-pidfile: {config.pidfile}: {fault.strerror}") from None
        stack.callback(config.pidfile.unlink, missing_ok=True)
    return stack


def demo(words: list[str]) -> int:
    """`gossamer demo`: something to look at without knowing an option."""
    if wants_help(words):
        print(DEMO_HELP, end="")
        return 0
    what = words.pop(0) if words and not words[0].startswith("-") else "builtin"
    if what == "builtin":
        from gossamer.demo import story

        return story.story(words)
    from gossamer.demo import guests
    from gossamer.machines import options

    if what == "linux":
        words = [*linux_files(words), *(word for word in words if word != "--yes")]
    elif what == "web" and words[:1] == ["linux"]:
        words = ["linux", *linux_files(words), *(word for word in words[1:] if word != "--yes")]
    config = options.parse(guests.options_for(what, words))
    keys = (
        "C-c ends it."
        if what == "web"
        else "C-a x ends the emulator, C-a c is its monitor, C-a h is help."
    )
    print(keys, file=sys.stderr)
    return start(config)


def linux_files(words: list[str]) -> list[str]:
    """-kernel and so on of a Linux, where `words` name none; built where there is none, if agreed.

    `words` with ``--yes`` agree.
    """
    from gossamer.demo import guests
    from gossamer.recipes import building, command

    found = guests.given(words)
    for place in (command.options, guests.beside_checkout):
        found = place() if found is None else found
    if found is None:
        print("There is no Linux here yet.", file=sys.stderr)
        if building.build(yes="--yes" in words) is None:
            raise ConfigError(guests.NO_LINUX)
        found = command.options() or []
    return found


# --- tools --------------------------------------------------------------------------------------


def part(load: Callable[[], Any], what: str) -> Any:  # noqa: ANN401 - a module
    """A module of gossamer; ConfigError when this build does not have it."""
    try:
        return load()
    except ModuleNotFoundError as fault:
        if fault.name is None or not fault.name.startswith("gossamer."):
            raise
        raise ConfigError(f"{what}: not in this build ({fault.name} is missing)") from None


def tool(group: str, name: str, load: Callable[[], Any], words: list[str]) -> int:
    """Run a tool: its module has add_parser(subparsers), for `name`, and run(arguments)."""
    import argparse

    loaded = part(load, f"{group} {name}")
    parser = argparse.ArgumentParser(prog=group)
    loaded.add_parser(parser.add_subparsers(required=True, metavar="COMMAND"))
    status: int = loaded.run(parser.parse_args([name, *words]))
    return status


def several(command: str, modules: dict[str, Callable[[], Any]]) -> Callable[[list[str]], int]:
    """A command with sub-commands, each a tool."""

    def choose(words: list[str]) -> int:
        if not words or wants_help(words[:1]):
            print(f"usage: gossamer {command} {'|'.join(modules)} ...")
            return 0 if words else BAD_INPUT
        if words[0] not in modules:
            from gossamer.machines.config import unknown

            raise unknown(f"gossamer {command}", words[0], modules)
        return tool(f"gossamer {command}", words[0], modules[words[0]], words[1:])

    return choose


TLS_HELP: Final = """\
usage: gossamer tls init DIR [NAME...]

Makes a small authority and the files of tls-creds-x509 in DIR: ca, server and client, each with its
key.  NAME (localhost): the names and addresses by which senders know the receiving host.  Copy
ca-cert.pem and client-*.pem to the sender, keep ca-key.pem away from both.
"""


def tls(words: list[str]) -> int:
    """`gossamer tls init`: certificates for transfers inside TLS."""
    if wants_help(words) or len(words) < 2 or words[0] != "init":
        print(TLS_HELP, end="")
        return 0 if wants_help(words) else BAD_INPUT
    from pathlib import Path

    try:
        from gossamer.migrate.tls_init import make
    except ImportError:
        raise ConfigError("tls init: needs the package cryptography (the extra tls)") from None
    for path in make(Path(words[1]), words[2:] or ["localhost"]):
        print(path)
    return 0


COMMANDS: Final = {
    "run": Command("run a machine; takes QEMU's options", run),
    "demo": Command("see saves lose nothing, or boot OpenBIOS or Linux, without options", demo),
    "stream": Command(
        "look into, compare and convert saved machines",
        lambda words: tool(
            "gossamer", "stream", lambda: import_module("gossamer.streams.command"), words
        ),
    ),
    "verify": Command(
        "check instructions against QEMU, and cuts against no cuts",
        several(
            "verify",
            {
                "isa": lambda: import_module("gossamer.verify.isa.command"),
                "float": lambda: import_module("gossamer.verify.float.command"),
                "cuts": lambda: import_module("gossamer.verify.cuts.command"),
                "hops": lambda: import_module("gossamer.verify.hops.command"),
            },
        ),
    ),
    "fleet": Command(
        "many machines on several nodes: move, drain, upgrade, bring back",
        lambda words: tool(
            "gossamer", "fleet", lambda: import_module("gossamer.fleet.command"), words
        ),
    ),
    "guest": Command(
        "build a Linux for the machines, from Debian's source packages",
        lambda words: tool(
            "gossamer", "guest", lambda: import_module("gossamer.recipes.command"), words
        ),
    ),
    "tls": Command("make certificates for transfers between hosts", tls),
    "bench": Command(
        "measure speed",
        several(
            "bench",
            {
                "engine": lambda: import_module("gossamer.bench.engine.command"),
                "linux": lambda: import_module("gossamer.bench.linux.command"),
            },
        ),
    ),
}
