"""Whether native code is the same text on two trees: sums of each function, for every CPU model.

    python -m tests.engine.texts > before        # on one tree
    python -m tests.engine.texts | diff before - # on the other: what differs, by model and function

Temporaries are numbered anew in each function, so that what only the numbering differs in is equal;
comments and blank lines count for nothing.
"""

from __future__ import annotations

import re
import sys

import xxhash

from gossamer.cpu.model import MODELS
from gossamer.engine.module import module_text, unit_text
from gossamer.engine.units import UNITS, units_of
from gossamer.isa.architecture import Architecture

_NAME = re.compile(r"[%@]?[A-Za-z_][\w.]*|%\d+")
_LABEL = re.compile(r"^(\w+):", re.MULTILINE)
_HEAD = re.compile(r"^define [^@]*@(\w+)")


def renumbered(function: str) -> str:
    """A function whose temporaries and labels are numbered by their first use."""
    known: dict[str, str] = {}
    labels = set(_LABEL.findall(function))

    def name(m: re.Match[str]) -> str:
        word = m[0]
        if not (word.startswith("%") or word in labels):
            return word
        return known.setdefault(word.lstrip("%"), f"%{len(known)}")

    return _NAME.sub(name, function)


def functions(text: str) -> dict[str, str]:
    """Each function of a module by its name; everything else is named by its line."""
    out: dict[str, str] = {}
    body: list[str] = []
    for line in text.split("\n"):
        if not line.strip() or line.startswith(";"):
            continue
        if body or line.startswith("define "):
            body.append(line)
            if line == "}":
                head = _HEAD.match(body[0])
                assert head is not None, body[0]
                out[head[1]] = "\n".join(body)
                body = []
        else:
            out[line.strip()[:60]] = line
    return out


def architectures() -> dict[str, Architecture]:
    """One model's name for each architecture that native code is made for."""
    found: dict[Architecture, str] = {}
    for model in MODELS.values():
        if not model.lacking:
            found.setdefault(model.architecture, model.name)
    return {name: architecture for architecture, name in found.items()}


def sums(architecture: Architecture) -> dict[str, str]:
    """A sum of each function of tier 0, units' named after those."""
    core = functions(module_text(architecture))
    parts = dict(core)
    for n in units_of(architecture):
        unit = functions(unit_text(architecture, n, core))
        parts |= {f"{UNITS[n]} {name}": text for name, text in unit.items()}
    return {
        name: xxhash.xxh3_64_hexdigest(renumbered(text).encode()) for name, text in parts.items()
    }


def main(names: list[str]) -> None:
    for model, architecture in architectures().items():
        if not names or model in names:
            for function, found in sorted(sums(architecture).items()):
                print(model, found, function)


if __name__ == "__main__":
    main(sys.argv[1:])
