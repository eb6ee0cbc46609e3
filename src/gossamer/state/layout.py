"""What goes on the wire in which order.

Without a layout an object's state goes out in the order of its declaration.  A `Layout` names the
items instead: a state attribute by its name (str), or one of the items below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gossamer.state.codec import Codec


@dataclass(frozen=True)
class View:
    """A wire field that shows state in another form.

    `get` reads the owner and gives the value to write; `put` takes the value read and sets the
    owner.  The two are inverses on every reachable state, and a test says so.
    """

    name: str
    codec: Codec
    get: Callable[[Any], Any]
    put: Callable[[Any, Any], None]
    since: int = 0
    when: Callable[[Any], bool] | None = None
    clock: bool = False


@dataclass(frozen=True)
class Constant:
    """A wire field with nothing behind it: unused bytes, or a value that must agree."""

    name: str
    codec: Codec
    since: int = 0


@dataclass(frozen=True)
class Nested:
    """A struct on the wire: `target` gives the object, `layout` (none: its own) the items.

    `joined` elements of an array are described by one entry, as QEMU does for most.
    """

    name: str
    target: Callable[[Any], Any]
    vmsd: str = ""
    version: int | None = None
    layout: Layout | None = None
    when: Callable[[Any], bool] | None = None
    since: int = 0
    joined: bool = False


Item = str | View | Constant | Nested
Layout = Sequence[Item]

N = TypeVar("N", bound=Callable[[Any], bool])


class Subsection:
    """An optional part of a section: sent when `needed`, absent otherwise.

    `ours` marks a subsection that only gossamer knows: profiles for QEMU leave it out and report
    what is lost.  `layout` gives the items where the fields declared `within` are not all.
    `compat` names a switch of the owner: while it is off there is no such subsection.
    """

    def __init__(
        self,
        name: str,
        version: int = 1,
        *,
        ours: bool = False,
        layout: Layout | None = None,
        compat: str = "",
    ) -> None:
        self.name, self.version, self.ours, self.layout = name, version, ours, layout
        self.compat = compat
        self.minimum = version
        self.is_needed: Callable[[Any], bool] = lambda owner: True

    def exists(self, owner: object) -> bool:
        """Whether the owner, as its machine's version has it, knows the subsection at all."""
        return not self.compat or bool(getattr(owner, self.compat))

    def needed(self, claim: N) -> N:
        """Decorator for the method that says whether it is sent; reads state and compat only."""
        self.is_needed = claim
        return claim


def subsection(
    name: str,
    version: int = 1,
    *,
    ours: bool = False,
    layout: Layout | None = None,
    compat: str = "",
) -> Subsection:
    return Subsection(name, version, ours=ours, layout=layout, compat=compat)
