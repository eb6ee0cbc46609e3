"""`verify cuts --census`: nothing that changes while a guest runs may be undeclared.

What a chip holds is declared as state, derived, wiring or compat.  While a guest runs

- wiring and compat must not change, nor anything inside what wiring leads to (containers, arrays,
  closures, helper objects), nor the variables of the modules: what changes there is state that no
  save carries;
- what is derived, the interrupt lines and the map of memory included, must come out of a load of
  the state exactly as it is in the running machine.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from gossamer.control.vm import Vm
from gossamer.core.clock import Alarm
from gossamer.core.irq import IrqLine
from gossamer.core.memory import Mapping, RamBlock
from gossamer.core.region import Region
from gossamer.machines.machine import Machine
from gossamer.state.declare import Compat, Derived, Wiring
from gossamer.verify.cuts.fields import Composed, objects
from gossamer.verify.cuts.guests import Plan
from gossamer.verify.cuts.hidden import Walk, module_variables, names_of

MOMENTS: Final = 25


def fixed(machine: Machine) -> dict[str, object]:
    """What must not change, by path: wiring and compat, what they lead to, module variables."""
    walk = Walk()
    for path, owner in objects(machine):
        for name, declared in owner.declared.items():
            if isinstance(declared, Wiring | Compat) and hasattr(owner, name):
                walk.add(f"{path}.{name}", getattr(owner, name))
    module_variables(walk)
    return walk.found


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """A line for each undeclared change."""
    return [
        f"{path}: was {before.get(path, 'absent')}, is {after.get(path, 'absent')}, "
        "and is declared as wiring"
        for path in sorted(before.keys() | after.keys())
        if before.get(path, "absent") != after.get(path, "absent")
    ]


# --- derived --------------------------------------------------------------------------------------


def derived(machine: Machine) -> dict[str, object]:
    """What a load must rebuild, by path, in a form that two machines can be compared in."""
    out = derived_of(machine)
    for start, end, mapping in machine.memory.mappings:
        out[f"memory {start:#010x}"] = (end, mapping.base, mapping.target.name)
    out["processor.watching"] = machine.processor._watching
    return out


def derived_of(machine: Composed) -> dict[str, object]:
    """The same of chips alone."""
    out: dict[str, object] = {}
    for path, owner in objects(machine):
        for name, declared in owner.declared.items():
            if isinstance(declared, Derived) and hasattr(owner, name):
                out[f"{path}.{name}"] = _form(getattr(owner, name))
            elif isinstance(declared, Wiring) and hasattr(owner, name):
                for index, line in _lines(getattr(owner, name)):
                    out[f"{path}.{name}{index}"] = line.level
    return out


def _lines(value: object) -> Iterator[tuple[str, IrqLine]]:
    """Interrupt lines in a wiring attribute."""
    if isinstance(value, IrqLine):
        yield "", value
    elif isinstance(value, list | tuple):
        for n, one in enumerate(value):
            for index, line in _lines(one):
                yield f"[{n}]{index}", line
    elif isinstance(value, dict):
        for key, one in value.items():
            for index, line in _lines(one):
                yield f"[{key}]{index}", line


def _form(value: Any) -> object:  # noqa: ANN401 - whatever is derived
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, Alarm):
        return value.when
    if isinstance(value, Mapping):
        return value.base, value.size, value.target.name, value.priority
    if isinstance(value, RamBlock | Region):
        return value.name
    if isinstance(value, list | tuple):
        return tuple(_form(one) for one in value)
    if isinstance(value, dict):
        return tuple(sorted((repr(key), _form(one)) for key, one in value.items()))
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return tuple((name, _form(getattr(value, name))) for name in names_of(value))


def not_rebuilt(running: Machine, loaded: Machine) -> list[str]:
    """A line for each derived value that a load did not rebuild."""
    ours, theirs = derived(running), derived(loaded)
    return [
        f"{path}: {ours.get(path, 'absent')} running, {theirs.get(path, 'absent')} after a load"
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path, "absent") != theirs.get(path, "absent")
    ]


def take(plan: Plan, seed: int, say: Callable[[str], None]) -> tuple[int, int]:
    """Run a guest and look at it at random moments: values looked at, and findings."""
    rng = random.Random(seed)  # noqa: S311 - choice of test points
    track = plan.track()
    before = fixed(track.vm.machine)
    findings: dict[str, None] = {}
    values = 0
    span = range(plan.start_count + 1, plan.end_count)
    for count in sorted(rng.sample(span, min(MOMENTS, len(span)))):
        track.run_to(count)
        after = fixed(track.vm.machine)
        loaded = Vm(plan.config)
        stream = track.vm.save_bytes()
        loaded.load_bytes(stream)
        values += len(after) + len(derived(loaded.machine))
        for line in changed(before, after) + not_rebuilt(track.vm.machine, loaded.machine):
            if line not in findings:
                say(f"instruction {count}: {line}")
                findings[line] = None
    return values, len(findings)


def run_census(arguments: argparse.Namespace, plan: Plan) -> int:
    """The census of one guest's run; 0 when nothing was found."""
    values, findings = take(plan, arguments.seed, lambda text: print(text, file=sys.stderr))
    print(f"moments={MOMENTS} values={values} undeclared={findings}")
    return 0 if values and not findings else 1
