"""What a class of stateful objects declares, and the metaclass that holds it to its word.

In the class body every attribute is one of:

- state: ``u8() … i64() boolean() buffer(n) array(U32, n) bitmap(n) alarm("handler") vtime()
  child(Class) children(Class, n)``, carried by save and load, set by reset;
- derived: ``derived()``, rebuilt after load;
- wiring: ``wiring()``, given by the composition;
- compat: ``compat(default)``, a switch that a wire profile sets.

The declared names become the class's ``__slots__``, so assigning any other attribute fails at
once; a class body that holds anything else than declarations, methods and UPPER_CASE constants
fails at import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, TypeVar, cast

from gossamer.state import codec as c
from gossamer.state.layout import Layout, Subsection, View


class Declared:
    """A declared attribute; `name` is set by the metaclass."""

    name: str = "?"


class State(Declared):
    """State with one codec.

    `since` is the section version from which the value is on the wire, `within` the subsection
    that carries it (none: the section itself), `wire` its name in the JSON when that differs.
    """

    def __init__(
        self,
        codec: c.Codec,
        reset: object = None,
        *,
        since: int = 0,
        within: Subsection | None = None,
        wire: str = "",
        when: Callable[[Any], bool] | None = None,
        clock: bool = False,
    ) -> None:
        self.codec, self._reset = codec, reset
        self.since, self.within, self.wire, self.when = since, within, wire, when
        self.clock = clock  # the value is a point on the virtual clock

    @cached_property
    def view(self) -> View:
        """The attribute as a wire item."""
        name = self.wire or self.name
        return View(name, self.codec, self.value, self.assign, self.since, self.when, self.clock)

    def fresh(self) -> Any:  # noqa: ANN401 - the codec's type
        """The reset value, a new object when it is mutable."""
        if self._reset is None:
            return self.codec.zero()
        if isinstance(self._reset, bytes | bytearray):
            return bytearray(self._reset)
        if isinstance(self._reset, list):
            return list(self._reset)
        return self._reset

    def start(self, owner: Any) -> None:  # noqa: ANN401 - any Stateful
        setattr(owner, self.name, self.fresh())

    def value(self, owner: Any) -> Any:  # noqa: ANN401
        return getattr(owner, self.name)

    def assign(self, owner: Any, value: Any) -> None:  # noqa: ANN401
        setattr(owner, self.name, value)


class AlarmState(State):
    """An alarm of the owner's clock: be64 ns of expiry on the wire, all ones when not armed."""

    def __init__(self, handler: str, **kw: Any) -> None:  # noqa: ANN401
        super().__init__(c.Int("timer", 8), **kw)
        self.handler = handler
        self.clock = True

    def start(self, owner: Any) -> None:  # noqa: ANN401
        if not hasattr(owner, self.name):
            fire = getattr(owner, self.handler)
            setattr(owner, self.name, owner.clock.alarm(fire))
        getattr(owner, self.name).cancel()

    def value(self, owner: Any) -> int:  # noqa: ANN401
        when = getattr(owner, self.name).when
        return c.NOT_ARMED if when < 0 else int(when)

    def assign(self, owner: Any, value: int) -> None:  # noqa: ANN401
        alarm_object = getattr(owner, self.name)
        if value >> 63:
            alarm_object.cancel()
        else:
            alarm_object.set(value)


class ChildState(Declared):
    """A nested object (or `count` of them) of another stateful class: a struct on the wire."""

    def __init__(
        self, kind: type[Stateful], count: int | None, wire: str, within: Subsection | None
    ) -> None:
        self.kind, self.count, self.wire, self.within = kind, count, wire, within
        self.since = 0

    def start(self, owner: Any) -> None:  # noqa: ANN401
        """Make the object(s) the first time; owners with wiring to give make them themselves."""
        if not hasattr(owner, self.name):
            made = [self.kind() for _ in range(1 if self.count is None else self.count)]
            setattr(owner, self.name, made[0] if self.count is None else made)
        for one in self.objects(owner):
            one.reset()

    def objects(self, owner: Any) -> list[Stateful]:  # noqa: ANN401
        held = getattr(owner, self.name)
        return [held] if self.count is None else list(held)


class Derived(Declared):
    """Rebuilt from state after load."""


class Wiring(Declared):
    """Given by the composition."""


class Compat(Declared):
    """A switch of the wire form; the profile may set it."""

    def __init__(self, default: object) -> None:
        self.default = default


def _int(codec: c.Codec, reset: int, kw: dict[str, Any]) -> int:
    return cast(int, State(codec, reset, **kw))


def u8(reset: int = 0, **kw: Any) -> int:  # noqa: ANN401
    return _int(c.U8, reset, kw)


def u16(reset: int = 0, **kw: Any) -> int:  # noqa: ANN401
    return _int(c.U16, reset, kw)


def u32(reset: int = 0, **kw: Any) -> int:  # noqa: ANN401
    return _int(c.U32, reset, kw)


def u64(reset: int = 0, **kw: Any) -> int:  # noqa: ANN401
    return _int(c.U64, reset, kw)


def i32(reset: int = 0, **kw: Any) -> int:  # noqa: ANN401
    return _int(c.I32, reset, kw)


def i64(reset: int = 0, **kw: Any) -> int:  # noqa: ANN401
    return _int(c.I64, reset, kw)


def vtime(reset: int = 0, **kw: Any) -> int:  # noqa: ANN401
    """A point on the virtual clock, ns, signed 64 bits on the wire."""
    return cast(int, State(c.I64, reset, clock=True, **kw))


def boolean(reset: bool = False, **kw: Any) -> bool:  # noqa: ANN401
    return cast(bool, State(c.BOOL, reset, **kw))


def buffer(size: int, reset: bytes | None = None, **kw: Any) -> bytearray:  # noqa: ANN401
    """`size` bytes; the attribute is a bytearray."""
    return cast(bytearray, State(c.Buffer(size), reset, **kw))


def array(of: c.Codec, count: int, reset: list[int] | None = None, **kw: Any) -> list[int]:  # noqa: ANN401
    """`count` integers; the attribute is a list."""
    return cast("list[int]", State(c.Array(of, count), reset, **kw))


def bitmap(bits: int, **kw: Any) -> int:  # noqa: ANN401
    """`bits` bits; the attribute is an int, bit n with weight 1 << n."""
    return cast(int, State(c.Bitmap(bits), 0, **kw))


def alarm(handler: str, **kw: Any) -> Any:  # noqa: ANN401 - a core.clock.Alarm, a floor above
    """An alarm of `self.clock` that calls the method named `handler` when it is due."""
    return AlarmState(handler, **kw)


T = TypeVar("T", bound="Stateful")


def child(kind: type[T], wire: str = "", within: Subsection | None = None) -> T:
    """One nested object of `kind`."""
    return cast(T, ChildState(kind, None, wire, within))


def children(
    kind: type[T], count: int, wire: str = "", within: Subsection | None = None
) -> list[T]:
    """`count` nested objects of `kind`."""
    return cast("list[T]", ChildState(kind, count, wire, within))


def derived() -> Any:  # noqa: ANN401
    return Derived()


def wiring() -> Any:  # noqa: ANN401
    return Wiring()


def compat(default: Any) -> Any:  # noqa: ANN401
    return Compat(default)


class StateMeta(type):
    """Turns the declarations of a class body into slots and keeps their list in `declared`."""

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        body: dict[str, Any],
    ) -> StateMeta:
        declared: dict[str, Declared] = {}
        subsections: list[Subsection] = []
        for key, value in list(body.items()):
            if isinstance(value, Declared):
                value.name = key
                declared[key] = value
                del body[key]
            elif isinstance(value, Subsection):
                subsections.append(value)
            elif not _is_class_level(key, value):
                raise TypeError(
                    f"{name}.{key} is neither state, derived, wiring, compat, a method "
                    "nor a constant"
                )
        body["__slots__"] = tuple(declared)
        cls = super().__new__(mcs, name, bases, body)
        inherited: dict[str, Declared] = {}
        known: list[Subsection] = []
        for base in reversed(cls.__mro__[1:]):
            inherited.update(base.__dict__.get("own_declared", {}))
            known = _left(known, base.__dict__)
            known += base.__dict__.get("own_subsections", [])
        for sub in subsections:
            if sub.ours and not sub.is_judged:
                raise TypeError(
                    f"{name}: no receiver but gossamer knows {sub.name}: say what is lost without "
                    "it (lost=, or a method under @….losing)"
                )
        cls.own_declared = declared  # type: ignore[attr-defined]
        cls.own_subsections = subsections  # type: ignore[attr-defined]
        cls.declared = inherited | declared  # type: ignore[attr-defined]
        cls.subsections = _left(known, body) + subsections  # type: ignore[attr-defined]
        return cls


def _left(known: list[Subsection], body: Mapping[str, Any]) -> list[Subsection]:
    """What a class with such a body leaves of its bases' subsections."""
    return [s for s in known if s.name not in body.get("without", ())]


def _is_class_level(key: str, value: object) -> bool:
    if key.startswith("__") or key.isupper() or key.lstrip("_").isupper():
        return True
    if key in {"vmsd", "version", "minimum", "layouts", "section", "lost", "without"}:
        return True
    return callable(value) or isinstance(value, property | staticmethod | classmethod)


class Stateful(metaclass=StateMeta):
    """An object whose state is declared.

    `vmsd` is the description's name on the wire, `version` and `minimum` its versions, `layouts`
    maps a wire profile's name to a `Layout` that differs from the declaration order (key "" for
    every profile).  `lost`: what a receiver that has no such section will not know.  `without`:
    subsections of a base class that its objects do not have.
    """

    vmsd: ClassVar[str] = ""
    version: ClassVar[int] = 0
    minimum: ClassVar[int] = 0
    lost: ClassVar[str] = ""
    layouts: ClassVar[dict[str, Layout]] = {}
    without: ClassVar[tuple[str, ...]] = ()
    declared: ClassVar[dict[str, Declared]]
    subsections: ClassVar[list[Subsection]]

    def __init__(self) -> None:
        for d in self.declared.values():
            if isinstance(d, Compat):
                setattr(self, d.name, d.default)

    def reset(self) -> None:
        """Set every state attribute to its reset value (MMIO reset, power on)."""
        for d in self.declared.values():
            if isinstance(d, State | ChildState):
                d.start(self)

    def post_load(self, version: int) -> None:
        """Rebuild what is derived from the state just loaded; touch no line."""

    def pre_save(self) -> None:
        """Bring state up to date before it is saved; must not change what the guest sees."""
