"""The page in Debian's Chromium: what a person does with it, on a Linux that boots.

GOSSAMER_PICTURES=FOLDER keeps the pictures that the README and docs/web.md show.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import unavailable

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.timeout(600)]
TOKEN: Final = "a-token-of-24-characters"
SHIFTED: Final = frozenset("_$()*|")
MOST_MS: Final = 60_000
"""What a step may take on a host that does much else."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium, without a window."""
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if found is None:
        unavailable("there is no Chromium (Debian package chromium-headless-shell)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("needs the package playwright (the extra test)")
    with sync_playwright() as all_:
        # CI is root, whom Chromium's sandbox does not let in; the page is ours.
        yield all_.chromium.launch(executable_path=found, args=["--no-sandbox"])


class Machine:
    """`gossamer run` in a process of its own; `address` is its page's."""

    def __init__(self, *words: str, home: Path, files: Path) -> None:
        page = f"127.0.0.1:8006,to=9006,token={TOKEN},files={files}"
        fixed = ("-display", "none", "-monitor", "none", "-serial", "null", "-web", page)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gossamer", "run", *words, *fixed],
            env=os.environ | {"XDG_STATE_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.lines: list[str] = []
        for line in self.process.stderr:
            self.lines.append(line)
            if match := re.search(r"http://\S+", line):
                self.address = match[0]
                return
        raise AssertionError(self.lines)

    def close(self) -> str:
        """End it; what it said."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=60)
        return said


@pytest.fixture
def machine() -> Iterator[Callable[..., Machine]]:
    """Makes machines, and ends them."""
    with contextlib.ExitStack() as stack:

        def make(*words: str, **given: Any) -> Machine:
            made = Machine(*words, **given)
            stack.callback(made.close)
            return made

        yield make


class Page:
    """A page in a browser, and what a person does there."""

    def __init__(self, browser: Any, address: str, folder: Path, **look: Any) -> None:
        self.page = browser.new_page(viewport={"width": 1280, "height": 860}, **look)
        self.page.set_default_timeout(MOST_MS)
        self.folder = folder
        self.faults: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        self.page.goto(address)
        self.page.wait_for_selector("body[data-ready]")

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(f"{message.text} {message.location}")

    def tab(self, name: str) -> None:
        self.page.click(f"#tab-{name}")

    def console_has(self, text: str) -> None:
        """Wait until the first console's terminal shows `text`."""
        self.page.wait_for_function(
            "text => document.querySelector('#serial0 .xterm-rows')?.innerText"
            ".replaceAll('\\u00a0', ' ').includes(text)",
            arg=text,
        )

    def shell(self, line: str, answer: str) -> None:
        """Type a line into the first console; its answer comes."""
        self.tab("consoles")
        self.page.wait_for_selector("#serial0 .xterm-rows")
        self.page.locator("#serial0 textarea").focus()
        self.page.keyboard.type(f"{line}\n")
        self.console_has(answer)

    def keys(self, text: str) -> None:
        """Press keys as on a keyboard: Shift is one of them."""
        for letter in text:
            shifts = letter.isupper() or letter in SHIFTED
            if shifts:
                self.page.keyboard.down("Shift")
            self.page.keyboard.press("Enter" if letter == "\n" else letter, delay=20)
            if shifts:
                self.page.keyboard.up("Shift")

    def lit(self) -> None:
        """Wait until the screen shows something in two colours at least."""
        self.page.wait_for_function(
            """() => {
              const canvas = document.querySelector("#screen canvas");
              const { width, height } = canvas;
              const copy = Object.assign(document.createElement("canvas"), { width, height });
              const read = copy.getContext("2d", { willReadFrequently: true });
              read.drawImage(canvas, 0, 0);
              const all = read.getImageData(0, 0, width, height).data;
              let bright = 0;
              for (let at = 0; at < all.length; at += 4) bright += all[at] > 100;
              return bright > 1000 && bright < all.length / 4;
            }"""
        )

    def keep(self, name: str, *, full: bool = False) -> None:
        """A picture of the page."""
        self.page.screenshot(path=self.folder / f"{name}.png", full_page=full)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="gsm-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def linux(shared: Path, folder: Path) -> tuple[str, ...]:
    kernel = folder / "vmlinux"
    kernel.write_bytes(gzip.decompress((shared / "guests" / "vmlinux.gz").read_bytes()))
    for name in ("first", "second"):
        (folder / f"{name}.iso").write_bytes(name.encode().ljust(2048, b"\n") * 64)
    return (
        "-M", "g3beige", "-m", "64", "-vga", "std", "-icount", "shift=1",
        "-cdrom", str(folder / "first.iso"), "-kernel", str(kernel),
        "-initrd", str(shared / "guests" / "initramfs.cpio.gz"),
        "-append", "console=tty0 console=ttyPZ0",
    )  # fmt: skip


def test_a_person_uses_the_page(
    chromium: Any,
    machine: Callable[..., Machine],
    linux: tuple[str, ...],
    folder: Path,
    tmp_path: Path,
) -> None:
    given = os.environ.get("GOSSAMER_PICTURES")
    pictures = Path(given) if given else tmp_path
    source = machine(*linux, home=folder / "a", files=folder)
    one = Page(chromium, source.address, pictures)
    page = one.page
    one.tab("consoles")
    one.console_has("guest# ")
    one.lit()

    # Keys, by scan code, through the ADB keyboard to the shell on the screen.
    page.evaluate("document.querySelector('#screen canvas').focus()")
    one.keys("echo Typed_$((6*7)) | tee /dev/ttyPZ0\n")
    one.console_has("Typed_42")

    # A snapshot, something that is done after it, and back by its picture.
    one.tab("past")
    page.click("#snapshot")
    page.fill("#ask input", "before")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-tag=before].here img[src^=blob]")
    one.shell("echo later > /tmp/later; cat /tmp/later; echo done-$((1+1))", "done-2")
    one.tab("past")
    page.click("#snapshot")
    page.fill("#ask input", "after")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-tag=after].here img[src^=blob]")
    page.click("#back-before")
    page.wait_for_selector("[data-tag=before].here")
    page.wait_for_selector("[data-tag=before] + ul [data-tag=after]")
    one.shell("ls /tmp/later || echo not-$((2+1))", "not-3")

    # Another disc, which the guest reads.
    one.tab("discs")
    page.select_option("#discs select", value=str(folder / "second.iso"))
    page.click("#discs >> text=Insert")
    page.wait_for_selector("#discs >> text=second.iso")
    one.shell("head -c 6 /dev/sr0; echo", "second")
    page.evaluate(
        """() => {
          const all = new DataTransfer();
          all.items.add(new File(["dropped\\n".repeat(4096)], "dropped.iso"));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: all, bubbles: true }));
        }"""
    )
    page.wait_for_selector("[data-drive] >> text=dropped.iso (")
    one.shell("head -c 7 /dev/sr0; echo", "dropped")

    # The line of time: to its begin, and the guest goes on from there.
    one.tab("past")
    page.click("#keep")
    page.wait_for_selector("#slider")
    one.keep("page")
    page.click("#clip summary")
    page.fill("#text", "echo Text_$((5+5)) | tee /dev/ttyPZ0\n")
    page.click("#type")
    one.tab("consoles")
    one.console_has("Text_10")
    one.tab("past")
    page.focus("#slider")
    page.keyboard.press("Home")
    page.wait_for_selector("#state[data-state=paused]")
    page.wait_for_function(
        "() => document.getElementById('slider').value === document.getElementById('slider').min"
    )
    page.click("#pause")
    page.wait_for_selector("#state[data-state=running]")
    page.click("#line >> text=Forget it")

    # Every thing by keyboard alone.
    page.click("h1")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pause"
    page.keyboard.press("Enter")
    page.wait_for_selector("#state[data-state=paused]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#state[data-state=running]")
    page.focus("#tab-past")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.id") == "tab-move"

    # It moves to another process while it runs, and goes on there.
    same = [word.replace("first.iso", "second.iso") for word in linux]
    there = machine(*same, "-incoming", f"unix:{folder}/move", home=folder / "b", files=folder)
    page.fill("#uri", f"unix:{folder}/move")
    page.click("#go")
    page.wait_for_selector("#moved:not(:empty)")
    assert "it stood still for" in page.inner_text("#moved")
    one.keep("move")
    other = Page(chromium, there.address, pictures)
    other.page.wait_for_selector("#state[data-state=running]")
    other.shell("head -c 6 /dev/sr0; echo on-$((3+1))", "on-4")
    other.console_has("second")
    other.lit()
    assert (one.faults, other.faults) == ([], [])

    # A phone at night.
    other.page.set_viewport_size({"width": 390, "height": 844})
    other.page.emulate_media(color_scheme="dark")
    assert other.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert other.page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(22, 24, 28)"
    )
    other.keep("phone")
    assert other.faults == []
