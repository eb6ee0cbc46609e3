"""gdb's server on a character device: one client, which stops the guest and lets it go on."""

from __future__ import annotations

import sys

from gossamer.base.errors import GossamerError
from gossamer.control.debugger import Debugger
from gossamer.control.events import Event, ShutDown, Stopped
from gossamer.control.runner import RUNNING
from gossamer.control.session import Session
from gossamer.control.timeline.search import run_back
from gossamer.control.timeline.timeline import Timeline
from gossamer.engine.stops import Met
from gossamer.front.chardev import Chardev, Null
from gossamer.front.gdb.packets import Wire
from gossamer.front.gdb.requests import REFUSED, Requests
from gossamer.front.hmp.monitor import Monitor

#: Signals of stop replies: SIGTRAP after a step or at a breakpoint, SIGINT after C-c.
_TRAP, _INT = b"05", b"02"


class _BrokenOffError(GossamerError):
    """The client wants no more of a way back, or has gone."""


class GdbServer:
    """Serves `session`'s machine on `device`.

    A client that connects stops the guest; one that detaches, or vanishes, lets go of it: no
    breakpoint is left, and the guest runs again if it ran before.
    """

    def __init__(self, session: Session, device: Chardev) -> None:
        self.session, self.device = session, device
        self.debugger = Debugger(session.vm)
        self.wire = Wire(device.write, self._received, self._interrupted)
        self.requests = self._fresh()
        self._waits = self._stepped = False
        """Whether the client waits for the guest to stop; has stepped a CPU of its choice."""
        self._ran = False
        self._signal = _TRAP
        #: While the machine goes back: what the client has sent meanwhile, and whether it has gone.
        self._meanwhile: list[bytes] | None = None
        self._gone = self._broken_off = False
        device.receive = self.wire.feed
        device.opened = self._opened
        device.closed = self._closed
        session.vm.events.add(self._happened)

    def _fresh(self) -> Requests:
        requests = Requests(
            self.debugger,
            back=self._back if isinstance(self.session.vm.history, Timeline) else None,
            resume=self._resume,
            detach=self._let_go,
            end=self._end,
            monitor=Monitor(self.session, Null("gdb")).execute,
            stop_reply=self._stop_reply,
        )
        requests.output = self.wire.answer
        return requests

    def _opened(self) -> None:
        if self._meanwhile is not None:  # another is here while the machine goes back for the last
            self.device.hang_up()
            return
        vm = self.session.vm
        self._ran = vm.run_state == RUNNING
        vm.stop()
        self._begin_past()
        self.wire.reset()
        self.requests = self._fresh()
        self._waits, self._signal = False, _TRAP
        self._stepped, self.debugger.cpu = False, vm.machine.turn
        order = "little" if self.debugger.little else "big"
        text = f"gossamer: gdb: a client is here (without an ELF file: set endian {order})"
        print(text, file=sys.stderr, flush=True)

    def _closed(self) -> None:
        if self._meanwhile is None:
            self._let_go()
        else:
            self._gone = self._broken_off = True

    def _begin_past(self) -> None:
        """Keep the machine's past from here on, where that is possible, unless it has one."""
        vm = self.session.vm
        if vm.history is not None or vm.config.icount is None or vm.run_state == "inmigrate":
            return
        try:
            self._past = Timeline(vm)
        except GossamerError as fault:
            print(f"gossamer: gdb: no way back: {fault}", file=sys.stderr, flush=True)

    _past: Timeline | None = None

    # --- what the client sends ----------------------------------------------------------------

    def _received(self, body: bytes) -> None:
        if self._meanwhile is not None:  # only C-c is meant to come
            self._broken_off = True
            self._meanwhile.append(body)
            return
        if self._waits:  # while the guest runs only C-c is meant to come
            self._interrupted()
        answer = self.requests.answer(body)
        if answer is not None:
            self.wire.answer(answer)
        if self.requests.no_ack:
            self.wire.acknowledges = False

    def _interrupted(self) -> None:
        self._signal = _INT
        if self._meanwhile is not None:
            self._broken_off = True
            return
        if self._waits:
            self.session.vm.stop()
        if self._waits:  # it stood already, for a reason of its own
            self._report_stop()

    # --- running ------------------------------------------------------------------------------

    def _resume(self, step: bool) -> bytes | None:
        vm = self.session.vm
        self._signal = _TRAP
        if vm.ended or vm.run_state in ("shutdown", "inmigrate"):
            return REFUSED
        self._stepped = step
        if step:
            self.debugger.step()
            return self._stop_reply()
        self._waits = True
        self.debugger.go()
        return None

    def _back(self, step: bool) -> bytes | None:
        """One instruction back, or to the last breakpoint or watchpoint: the stop reply.

        A client that sends C-c meanwhile, or goes, finds the guest where it was.
        """
        vm = self.session.vm
        timeline = vm.history
        if vm.ended or not isinstance(timeline, Timeline):
            return REFUSED
        self._signal, self._stepped = _TRAP, False
        meanwhile = self._meanwhile = []
        self._gone = self._broken_off = False
        vm.patience = self._look
        try:
            answer = self._went_back(timeline, step)
        except _BrokenOffError:
            answer = self._reply(None, _INT)
        finally:
            vm.patience, self._meanwhile = None, None
        if self._gone:
            self._let_go()
            return None
        self.wire.answer(answer)
        for body in meanwhile:
            self._received(body)
        return None

    def _look(self) -> None:
        """Called now and then on the way back."""
        self.device.handle_ready()
        if self._broken_off:
            self.session.vm.patience = None
            raise _BrokenOffError("broken off")

    def _went_back(self, timeline: Timeline, step: bool) -> bytes:
        vm, debugger = self.session.vm, self.debugger
        if step:
            if vm.instructions <= timeline.begin.instructions:
                return self._reply(None, _TRAP, b"replaylog:begin;")
            timeline.go_to_count(vm.instructions - 1)
            return self._reply(None, _TRAP)
        hit = run_back(timeline, frozenset(debugger.breakpoints), tuple(debugger.watchpoints))
        if hit is None:
            return self._reply(None, _TRAP, b"replaylog:begin;")
        if hit.met.kind != "break":
            # gdb takes a PowerPC to stop before an access, whichever way it goes, and steps over it
            # itself: going back, before it is undone.
            timeline.go_to_count(vm.instructions + 1)
        return self._reply(hit.met, _TRAP)

    def _happened(self, event: Event) -> None:
        if isinstance(event, Stopped) and self._waits:
            self._report_stop()
        elif isinstance(event, ShutDown) and self.session.vm.ended:
            self._waits = False
            self.wire.answer(b"W00")

    def _report_stop(self) -> None:
        """The guest stands: say why to the client that waits for it."""
        self._waits = False
        self.wire.answer(self._stop_reply())

    def _stop_reply(self) -> bytes:
        met = self.debugger.met
        return self._reply(met, self._signal if met is None else _TRAP)

    def _reply(self, met: Met | None, signal: bytes, more: bytes = b"") -> bytes:
        requests = self.requests
        self.debugger.cpu = self._stopped_cpu(met)
        fields = b"thread:" + requests.ident(self.debugger.cpu) + b";"
        if met is not None and met.kind != "break":
            fields += b"%s:%x;" % (self._watch_word(met), met.ea)
        elif met is not None and "hwbreak+" in requests.features:
            fields += b"hwbreak:;"
        return b"T" + signal + fields + more

    def _stopped_cpu(self, met: Met | None) -> int:
        """The CPU that has met something, was stepped, or whose turn it is."""
        if met is not None:
            return met.cpu
        return self.debugger.cpu if self._stepped else self.session.vm.machine.turn

    def _watch_word(self, met: Met) -> bytes:
        """Gdb's word for the kind of watchpoint that was met."""
        for w in self.debugger.watchpoints:
            if w.ea == met.ea and (w.reads if met.kind == "read" else w.writes):
                return b"awatch" if w.reads and w.writes else b"rwatch" if w.reads else b"watch"
        return b"watch"

    def _let_go(self) -> None:
        self._waits = False
        self.debugger.release()
        if self._past is not None:
            try:
                self._past.close()
            except GossamerError as fault:
                print(f"gossamer: gdb: {fault}", file=sys.stderr, flush=True)
            self._past = None
        if self._ran and self.session.vm.run_state in ("paused", "debug"):
            self.session.vm.cont()

    def _end(self) -> None:
        self.debugger.release()
        self.session.vm.quit("host-signal")
