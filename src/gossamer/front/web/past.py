"""What the page shows of saved states: their tree, their pictures, what differs between two.

Pictures of snapshots that are made while the page is there are kept as they come; those of others,
and differences, are the work of a child (`gossamer stream`), one at a time, so that neither a large
state nor a bad one costs the machine anything.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gossamer.base.errors import ConfigError, GossamerError, HostError
from gossamer.control.events import Event, SnapshotChanged
from gossamer.control.picture import Picture, png
from gossamer.control.session import Session
from gossamer.control.shapes import Json
from gossamer.control.snapshots import SnapshotEntry
from gossamer.control.steps import InThread, Steps
from gossamer.front.web.lineage import Lineage, key
from gossamer.front.web.pages import Answer

MOST_JOBS: Final = 64
"""Pictures and differences that wait for their turn."""
MOST_PICTURES: Final = 64 << 20
"""Bytes of pictures that are kept."""
MOST_TEXT: Final = 256 << 10
CHILD_S: Final = 120
Reply = Callable[[Answer | Exception], None]


class Past:
    """The saved states of one machine."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lineage = Lineage(session.vm.snapshot_store.folder)
        self._pictures: dict[str, bytes] = {}
        self._jobs: deque[tuple[Callable[[], Answer], Reply]] = deque()
        self._works = False
        self._child: subprocess.Popen[bytes] | None = None
        self._stop = session.vm.events.add(self._event)

    def close(self) -> None:
        self._stop()
        self._jobs.clear()
        child = self._child
        if child is not None:
            child.kill()

    # --- the tree -----------------------------------------------------------------------------

    def tree(self) -> Json:
        """All snapshots, each with its parent."""
        entries = self.session.vm.snapshots()
        keys = {key(one.tag, one.date_ns) for one in entries}
        return {
            "here": self.lineage.here,
            "snapshots": [
                {
                    "key": (mine := key(one.tag, one.date_ns)),
                    "tag": one.tag,
                    "bytes": one.size,
                    "date": one.date_ns // 1_000_000,
                    "clock": one.vm_clock_ns // 1_000_000,
                    "icount": one.icount,
                    "parent": self.lineage.parent(mine, keys),
                    "file": self.file(one.tag) is not None,
                }
                for one in entries
            ],
        }

    def _entry(self, tag: str) -> SnapshotEntry:
        for one in self.session.vm.snapshots():
            if one.tag == tag:
                return one
        raise ConfigError(f"there is no snapshot {tag[:80]!r}")

    def check(self, tag: str) -> None:
        """ConfigError where there is no such snapshot."""
        self._entry(tag)

    def file(self, tag: str) -> Path | None:
        """The save file of a snapshot; None for one inside an image."""
        images = self.session.vm.disks.snapshots
        if any(s.name == tag and s.vmstate_size for _, s in images):
            return None
        return self.session.vm.snapshot_store.existing(tag)

    def _place(self, entry: SnapshotEntry) -> str:
        """How `gossamer stream` names a snapshot."""
        tag = entry.tag
        file = self.file(tag)
        if file is not None:
            return str(file)
        image = next(i for i, s in self.session.vm.disks.snapshots if s.name == tag)
        return f"{image.path}@{tag}"

    def _event(self, event: Event) -> None:
        if not isinstance(event, SnapshotChanged) or event.what == "deleted":
            return
        # What goes wrong here must not be the save's fault.
        with contextlib.suppress(GossamerError, OSError, MemoryError):
            self._changed(event)

    def _changed(self, event: SnapshotChanged) -> None:
        mine = key(event.tag, self._entry(event.tag).date_ns)
        if event.what == "loaded":
            self.lineage.here = mine
            return
        self.lineage.saved(mine)
        picture = Picture(*self.session.vm.screen())
        self.session.spawn(self._keep(mine, picture))

    def _keep(self, name: str, picture: Picture) -> Steps[None]:
        data = yield InThread(lambda: png(picture))
        self._remember(name, data)

    def _remember(self, name: str, data: bytes) -> None:
        self._pictures[name] = data
        while sum(map(len, self._pictures.values())) > MOST_PICTURES:
            del self._pictures[next(iter(self._pictures))]

    # --- what a child does --------------------------------------------------------------------

    def picture(self, tag: str, reply: Reply) -> None:
        """Have the picture that a snapshot shows, as PNG."""
        entry = self._entry(tag)
        name = key(tag, entry.date_ns)
        if name in self._pictures:
            reply(Answer(self._pictures[name], "png"))
            return
        place = self._place(entry)

        def draw() -> Answer:
            with tempfile.TemporaryDirectory(prefix="gossamer-web-") as folder:
                made = Path(folder) / "picture.png"
                self._tool("screenshot", place, str(made))
                return Answer(made.read_bytes(), "png")

        def drawn(answer: Answer | Exception) -> None:
            if isinstance(answer, Answer):
                self._remember(name, answer.body)
            reply(answer)

        self.begin(draw, drawn)

    def difference(self, one: str, other: str, reply: Reply) -> None:
        """Have what differs between two snapshots, in words."""
        places = [self._place(self._entry(tag)) for tag in (one, other)]
        self.begin(lambda: Answer(self._tool("diff", *places)[:MOST_TEXT], "txt"), reply)

    def _tool(self, *words: str) -> bytes:
        """What `gossamer stream` prints; HostError with its last line when it fails."""
        command = [sys.executable, "-m", "gossamer", "stream", *words]
        pipe = subprocess.PIPE
        with subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
        ) as child:
            self._child = child
            try:
                out, said = child.communicate(timeout=CHILD_S)
            except subprocess.TimeoutExpired:
                child.kill()
                raise HostError(f"{words[0]}: takes more than {CHILD_S} s") from None
            finally:
                self._child = None
        if child.returncode not in (0, 1) or (child.returncode and not out):
            lines = said.decode(errors="replace").strip().splitlines() or ["it was ended"]
            raise HostError(lines[-1].removeprefix("gossamer: "))
        return out

    def begin(self, work: Callable[[], Answer], reply: Reply) -> None:
        """Have `work` done in a thread, in its turn; HostError when too many wait."""
        if len(self._jobs) >= MOST_JOBS:
            raise HostError(f"{MOST_JOBS} pictures and differences are waited for already")
        self._jobs.append((work, reply))
        if not self._works:
            self._works = True
            self.session.spawn(self._work())

    def _work(self) -> Steps[None]:
        try:
            while self._jobs:
                work, reply = self._jobs.popleft()
                try:
                    answer: Answer | Exception = yield InThread(work)
                except Exception as fault:
                    answer = fault
                reply(answer)
        finally:
            self._works = False
