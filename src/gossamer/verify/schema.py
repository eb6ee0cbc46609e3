"""What the streams of each released machine can hold, kept in files; a change must be owned up to.

`python -m gossamer.verify.schema` compares `schemas/` with what this build declares; with `--write`
it writes the files of versions that have none, and of those that are not released when the change
is one that a reader can see: a raised version, a new subsection, a new section.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gossamer.base.errors import ConfigError, HostError
from gossamer.base.units import MiB
from gossamer.control.globalstate import GlobalState
from gossamer.control.stream_out import section_description
from gossamer.machines import registry
from gossamer.machines.build import build
from gossamer.machines.machine import Machine
from gossamer.machines.options import parse
from gossamer.state.describe import describe
from gossamer.state.transfer import OURS

Json = dict[str, Any]
FOLDER: Final = "schemas"


def versions() -> list[str]:
    """Every version of every machine, as ``g3beige-1.0``; oldest first."""
    return [f"{kind.name}-{v.name}" for kind in registry.kinds() for v in kind.versions]


def machine_named(name: str) -> Machine:
    """The machine that a schema describes; needs no firmware."""
    kind, _ = registry.find_version(name)
    firmware = ["-bios", "builtin"] if kind.firmware else []
    memory = str(max(8, kind.ram_least // MiB))
    return build(parse(["-M", name, "-m", memory, "-nographic", "-serial", "null", *firmware]))


def schema(machine: Machine) -> Json:
    """Every section with all fields and subsections that may be sent."""
    sections = [section_description(part, every=True) for part in machine.sections]
    globalstate = {"name": "globalstate", "instance_id": 0}
    sections.append(globalstate | describe(GlobalState(), OURS, every=True))
    return {"machine": machine.hardware.full_name, "sections": sections}


# --- comparing ------------------------------------------------------------------------------------


def _by_name(entries: Sequence[Json], key: str) -> dict[str, Json]:
    return {f"{e[key]}/{e.get('instance_id', 0)}": e for e in entries}


def breaches(old: Json, new: Json) -> list[str]:
    """Changes from `old` to `new` that a reader of streams cannot see from the bytes."""
    out: list[str] = []
    mine = _by_name(new["sections"], "name")
    for name, section in _by_name(old["sections"], "name").items():
        if name in mine:
            out += _struct_breaches(name, section, mine[name])
        else:
            out.append(f"{name}: the section is gone")
    return out


def _struct_breaches(path: str, old: Json, new: Json) -> list[str]:
    out: list[str] = []
    if new["version"] < old["version"]:
        out.append(f"{path}: version went down from {old['version']} to {new['version']}")
    if new["version"] == old["version"]:
        out += _field_breaches(path, old["fields"], new["fields"])
    ours = {s["vmsd_name"]: s for s in new.get("subsections", [])}
    for sub in old.get("subsections", []):
        name = sub["vmsd_name"]
        if name in ours:
            out += _struct_breaches(f"{path} {name}", sub, ours[name])
        else:
            out.append(f"{path}: subsection {name} is gone")
    return out


def _field_breaches(path: str, old: list[Json], new: list[Json]) -> list[str]:
    out: list[str] = []
    for was, now in zip(old, new, strict=False):
        place = f"{path}.{was['name']}"
        flat = [{k: v for k, v in f.items() if k not in ("struct", "size")} for f in (was, now)]
        if flat[0] != flat[1] or ("struct" not in was and was["size"] != now["size"]):
            return [*out, f"{place}: is now {_short(now)}, was {_short(was)}, version the same"]
        if "struct" in was:
            if was["struct"]["version"] != now["struct"]["version"]:
                out.append(f"{place}: a nested struct's version is not on the wire: raise {path}'s")
            out += _struct_breaches(place, was["struct"], now["struct"])
    if len(old) != len(new):
        more = [f["name"] for f in (old[len(new) :] or new[len(old) :])]
        word = "gone" if len(old) > len(new) else "new"
        out.append(f"{path}: {', '.join(more)} {word}, version the same")
    return out


def _short(field: Json) -> str:
    count = f"[{field['array_len']}]" if "array_len" in field else ""
    return f"{field['name']} ({field.get('type')}{count}, {field['size']} bytes)"


# --- files ----------------------------------------------------------------------------------------


def folder() -> Path:
    """`schemas/` of the checkout that this package is in."""
    return Path(__file__).parents[3] / FOLDER


def read(name: str) -> Json | None:
    """The schema on file; None when the machine has none yet."""
    path = folder() / f"{name}.json"
    if not path.exists():
        return None
    try:
        found: Json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise HostError(f"{path}: {fault}") from None
    return found


def text(found: Json) -> str:
    return json.dumps(found, indent=1) + "\n"


def check(name: str, now: Json) -> list[str]:
    """What is wrong between the file of a machine's version and what this build declares."""
    then = read(name)
    if then is None:
        return [f"{name}: no file in {FOLDER}/; python -m gossamer.verify.schema --write makes it"]
    if then == now:
        return []
    found = forbidden(name, then, now)
    found = found or ["changed in a way that readers can see; --write writes the file anew"]
    return [f"{name}: {line}" for line in found]


def forbidden(name: str, then: Json, now: Json) -> list[str]:
    """What forbids a version to become what this build declares; nothing while it is open."""
    found = breaches(then, now)
    kind, version = registry.find_version(name)
    if kind.version(version).released:
        frozen = "released, its streams may not change"
        way = f"add a Version to {kind.name}'s file and switch the change off in this one"
        return found or [f"{frozen}: {way}"]
    return found


def write(name: str, now: Json) -> list[str]:
    """Write the file where that is allowed; what forbids it."""
    then = read(name)
    if then is not None and then != now:
        found = forbidden(name, then, now)
        if found:
            return [f"{name}: {line}" for line in found]
    folder().mkdir(exist_ok=True)
    (folder() / f"{name}.json").write_text(text(now), encoding="utf-8")
    return []


def main(arguments: Sequence[str]) -> int:
    """Compare, or with --write write."""
    if list(arguments) not in ([], ["--write"]):
        raise ConfigError("usage: python -m gossamer.verify.schema [--write]")
    act = write if arguments else check
    found = [line for name in versions() for line in act(name, schema(machine_named(name)))]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
