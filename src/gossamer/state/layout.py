"""What goes on the wire in which order.

Without a layout an object's state goes out in the order of its declaration.  A `Layout` names the
items instead: an attribute (state, nested objects) by its name (str), or one of the items below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from gossamer.base.data import Data
from gossamer.state.codec import Codec


class View(Data):
    """A wire field that shows state in another form.

    `get` reads the owner and gives the value to write; `put` takes the value read and sets the
    owner.  The two are inverses on every reachable state, and a test says so.  `sized` gives the
    codec instead where it depends on a field that comes before.  `compat` names a switch of the
    owner: while it is off there is no such field.
    """

    name: str
    codec: Codec
    get: Callable[[Any], Any]
    put: Callable[[Any, Any], None]
    since: int = 0
    when: Callable[[Any], bool] | None = None
    clock: bool = False
    sized: Callable[[Any], Codec] | None = None
    compat: str = ""

    def exists(self, owner: object) -> bool:
        """Whether the owner, as its machine's version has it, knows the field at all."""
        return not self.compat or bool(getattr(owner, self.compat))

    def is_there(self, owner: object, version: int) -> bool:
        """Whether the field is in a section of `version`."""
        if self.compat and not getattr(owner, self.compat):
            return False
        return self.when(owner) if self.when else self.since <= version

    def codec_of(self, owner: object) -> Codec:
        """How the value is written."""
        return self.codec if self.sized is None else self.sized(owner)


class Constant(Data):
    """A wire field with nothing behind it: unused bytes, or a value that must agree."""

    name: str
    codec: Codec
    since: int = 0


class Nested(Data):
    """A struct on the wire: `target` gives the object, `layout` (none: its own) the items.

    `joined` elements of an array are described by one entry, as QEMU does for most.  `literal`: the
    brackets of the name are no index.  `element`: the attribute of the owner that lists such
    objects, and which of them it is.
    """

    name: str
    target: Callable[[Any], Any]
    vmsd: str = ""
    version: int | None = None
    layout: Layout | None = None
    when: Callable[[Any], bool] | None = None
    since: int = 0
    joined: bool = False
    literal: bool = False
    element: tuple[str, int] | None = None


Item = str | View | Constant | Nested
Layout = Sequence[Item]

N = TypeVar("N", bound=Callable[[Any], bool])


class Loss(Data):
    """Something that a receiver will not know; `passes`: it is over after a short while."""

    text: str
    passes: bool = False


#: For `lost`: no guest can notice, or it is said in another way.
NOTHING: Final = ""
Losing = TypeVar("Losing", bound=Callable[[Any], Iterable[Loss]])


class Subsection:
    """An optional part of a section: sent when `needed`, absent otherwise.

    `ours` marks a subsection that only gossamer knows: profiles for QEMU leave it out and report
    what is `lost`, which must be said: in words, as a `Loss`, by a method (`losing`), or NOTHING.
    `layout` gives the items where the fields declared `within` are not all.
    `compat` names a switch of the owner: while it is off there is no such subsection.
    `newest`: the highest version that is read, where another program gave the same bytes a new one.
    """

    def __init__(
        self,
        name: str,
        version: int = 1,
        *,
        ours: bool = False,
        layout: Layout | None = None,
        compat: str = "",
        lost: str | Loss | None = None,
        newest: int = 0,
    ) -> None:
        self.name, self.version, self.ours, self.layout = name, version, ours, layout
        self.compat, self.lost, self.newest = compat, lost, max(version, newest)
        self._judge: Callable[[Any], Iterable[Loss]] | None = None
        self.minimum = version
        self.is_needed: Callable[[Any], bool] = lambda owner: True

    def exists(self, owner: object) -> bool:
        """Whether the owner, as its machine's version has it, knows the subsection at all."""
        return not self.compat or bool(getattr(owner, self.compat))

    def losing(self, judge: Losing) -> Losing:
        """Decorator for the method that says what is lost without the subsection."""
        self._judge = judge
        return judge

    @property
    def judge(self) -> Callable[[Any], Iterable[Loss]] | None:
        """The method that says what is lost, where it depends."""
        return self._judge

    @property
    def is_judged(self) -> bool:
        """Whether it has been said what is lost without it."""
        return self.lost is not None or self._judge is not None

    def losses(self, owner: object) -> list[Loss]:
        """What a receiver without the subsection will not know of `owner` as it is now."""
        if self._judge is not None:
            return list(self._judge(owner))
        if isinstance(self.lost, Loss):
            return [self.lost]
        if self.lost is None:
            return [Loss(f"{self.name} is not known there")]
        return [Loss(self.lost)] if self.lost else []

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
    lost: str | Loss | None = None,
    newest: int = 0,
) -> Subsection:
    return Subsection(
        name, version, ours=ours, layout=layout, compat=compat, lost=lost, newest=newest
    )
