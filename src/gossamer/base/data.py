"""Data classes: small classes of named values, as the dataclasses of Python, but cheap to declare.

    class Sample(Data):
        entry: int
        count: int = 0

    class Counts(Data, frozen=False):
        made: int = 0
        names: list[str] = field(default_factory=list)

Gossamer has some 300 of them and makes all that it imports at every start.  A dataclass writes and
compiles the source of up to eight methods for each (0.5 ms a class); here what can be the same for
all is inherited, and the one method that pays to be written for its class, `__init__`, is compiled
when the first instance is made.  Fields are slots.  A class that keeps more (`cached_property`)
says ``__slots__ = ("__dict__",)``, one that is referred to weakly ``("__weakref__",)``.
`dataclasses.fields`, `asdict` and the like take them too.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    TypeGuard,
    TypeVar,
    cast,
    dataclass_transform,
    overload,
)

if TYPE_CHECKING:
    import inspect

D = TypeVar("D", bound="Data")
T = TypeVar("T")


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""The default of a field that has none."""


class Field:
    """One value of a data class.  `type` is its annotation, as it is written."""

    __slots__ = ("compare", "default", "default_factory", "init", "name", "repr", "type")

    def __init__(
        self,
        default: object = MISSING,
        default_factory: Callable[[], object] | None = None,
        init: bool = True,
        repr: bool = True,
        compare: bool = True,
    ) -> None:
        self.name, self.type = "?", "?"
        self.default, self.default_factory = default, default_factory
        self.init, self.repr, self.compare = init, repr, compare

    @property
    def is_required(self) -> bool:
        return self.default is MISSING and self.default_factory is None


@overload
def field(*, default: T, init: bool = ..., repr: bool = ..., compare: bool = ...) -> T: ...
@overload
def field(
    *, default_factory: Callable[[], T], init: bool = ..., repr: bool = ..., compare: bool = ...
) -> T: ...
@overload
def field(*, init: bool = ..., repr: bool = ..., compare: bool = ...) -> Any: ...  # noqa: ANN401
def field(**what: Any) -> Any:
    """A field with more to say than its default; the arguments are those of `dataclasses.field`."""
    return Field(**what)


def _is_shared(annotation: object) -> bool:
    """Whether an annotation belongs to the class, not to its instances."""
    text = annotation if isinstance(annotation, str) else str(annotation)
    return text.startswith(("ClassVar", "typing.ClassVar"))


def _has_slot(bases: tuple[type, ...], name: str) -> bool:
    return any(name in getattr(base, "__data_fields__", ()) for base in bases)


def _values_of(names: list[str]) -> Callable[[Any], object]:
    """What gives the values by which two instances are compared."""
    return attrgetter(*names) if names else staticmethod(lambda data: ())


# --- __init__ -------------------------------------------------------------------------------------


def _first_init(cls: DataType) -> Callable[..., None]:
    """An `__init__` that gives way to the compiled one when it is first called."""

    def __init__(self: object, *values: object, **named: object) -> None:  # noqa: N807
        made = cls.__init__ = _compiled_init(cls)  # type: ignore[misc]
        made(self, *values, **named)

    __init__.of_data_class = True  # type: ignore[attr-defined]
    return __init__


def _compiled_init(cls: DataType) -> Callable[..., None]:
    """The `__init__` that sets the fields of `cls`, written for it."""
    is_frozen = cast("Any", cls).__setattr__ is not object.__setattr__
    room: dict[str, Any] = {"_MISSING": MISSING}
    arguments, lines = [], []
    for name, one in cls.__data_fields__.items():
        value = name
        if one.default_factory is not None:
            room[f"_make_{name}"] = one.default_factory
            value = f"_make_{name}() if {name} is _MISSING else {name}"
            arguments.append(f"{name}=_MISSING")
        elif one.default is not MISSING:
            room[f"_default_{name}"] = one.default
            arguments.append(f"{name}=_default_{name}")
        else:
            arguments.append(name)
        if not one.init:
            arguments.pop()
            if one.is_required:
                continue  # `__post_init__` sets it
            value = f"_make_{name}()" if one.default_factory is not None else f"_default_{name}"
        if is_frozen:
            room[f"_set_{name}"] = getattr(cls, name).__set__
            lines.append(f"_set_{name}(self, {value})")
        else:
            lines.append(f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    text = f"def __init__({', '.join(['self', *arguments])}):\n " + "\n ".join(lines or ["pass"])
    exec(text, room)  # noqa: S102 - of names that Python itself has read
    made = cast("Callable[..., None]", room["__init__"])
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    made.__annotations__ = {n: one.type for n, one in cls.__data_fields__.items() if one.init} | {
        "return": None
    }
    return made


def _as_dataclass(cls: DataType) -> dict[str, Any]:
    """The fields as dataclasses describes them; made when they are asked for."""
    import dataclasses

    found: dict[str, Any] = {}
    for name, one in cls.__data_fields__.items():
        options: dict[str, Any] = {"init": one.init, "repr": one.repr, "compare": one.compare}
        if one.default is not MISSING:
            options["default"] = one.default
        elif one.default_factory is not None:
            options["default_factory"] = one.default_factory
        made: Any = dataclasses.field(**options)
        made.name, made.type = name, one.type
        made._field_type = dataclasses._FIELD  # type: ignore[attr-defined]
        found[name] = made
    return found


# --- classes --------------------------------------------------------------------------------------


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class DataType(type):
    """Makes a data class of its annotations."""

    __data_fields__: dict[str, Field]
    __compared__: Callable[[Any], object]

    def __new__(
        cls,
        name: str,
        bases: tuple[type, ...],
        body: dict[str, Any],
        *,
        frozen: bool = True,
        eq: bool = True,
    ) -> DataType:
        found: dict[str, Field] = {}
        for base in reversed(bases):
            found |= getattr(base, "__data_fields__", {})
        own = [n for n, kind in body.get("__annotations__", {}).items() if not _is_shared(kind)]
        for n in own:
            default = body.pop(n, MISSING)
            one = default if isinstance(default, Field) else Field(default)
            one.name, one.type = n, body["__annotations__"][n]
            found[n] = one
        given = body.get("__slots__", ())
        # A field of a base has its slot there.
        body["__slots__"] = (*(n for n in own if not _has_slot(bases, n)), *given)
        body["__data_fields__"] = found
        body["__match_args__"] = tuple(n for n, one in found.items() if one.init)
        body["__compared__"] = _values_of([n for n, one in found.items() if one.compare])
        if not frozen:
            body.setdefault("__setattr__", object.__setattr__)
            body.setdefault("__delattr__", object.__delattr__)
        if not eq:
            body.setdefault("__eq__", object.__eq__)
            body.setdefault("__hash__", object.__hash__)
        elif not frozen:
            body.setdefault("__hash__", None)
        made = super().__new__(cls, name, bases, body)
        if "__init__" not in body:
            made.__init__ = _first_init(made)  # type: ignore[misc]
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        """What `help` shows."""
        import inspect

        made = cls.__init__  # type: ignore[misc]
        if hasattr(made, "of_data_class"):
            made = _compiled_init(cls)
        signature = inspect.signature(made)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    @property
    def __dataclass_fields__(cls) -> dict[str, Any]:
        return _as_dataclass(cls)


def make_ready(*kinds: type[Data]) -> None:
    """Compile now what the first instance of each would have to wait for (0.2 ms a class)."""
    for kind in kinds:
        if hasattr(kind.__init__, "of_data_class"):
            kind.__init__ = _compiled_init(kind)  # type: ignore[method-assign]


class _DataclassFields:
    """`__dataclass_fields__`, by which dataclasses' functions know what they may be given."""

    def __get__(self, data: object, cls: DataType) -> dict[str, Any]:
        return _as_dataclass(cls)


class Data(metaclass=DataType):
    """A class of named values: frozen and compared by them, unless its class says otherwise."""

    __slots__ = ()

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]
    else:
        __dataclass_fields__ = _DataclassFields()

    def __repr__(self) -> str:
        shown = (one.name for one in fields(self) if one.repr)
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({values})"

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        values = type(self).__compared__
        return values(self) == values(other)

    def __hash__(self) -> int:
        return hash(type(self).__compared__(self))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot assign {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name!r}")

    def __setstate__(self, state: tuple[dict[str, object] | None, dict[str, object]]) -> None:
        """Take over what `copy` and `pickle` read from another."""
        for values in state:
            for name, value in (values or {}).items():
                object.__setattr__(self, name, value)


def fields(data: Data | type[Data]) -> tuple[Field, ...]:
    """The fields of a data class or of one of its instances, in order."""
    cls = data if isinstance(data, DataType) else type(data)
    return tuple(cls.__data_fields__.values())


def replace(data: D, **changes: object) -> D:
    """A new instance with some values changed."""
    for one in fields(data):
        if one.init and one.name not in changes:
            changes[one.name] = getattr(data, one.name)
    return type(data)(**changes)


def asdict(data: Data) -> dict[str, Any]:
    """The values by name; those that are data classes too, alone or in a container, likewise."""
    return {one.name: _plain(getattr(data, one.name)) for one in fields(data)}


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a field holds
    if isinstance(value, Data):
        return asdict(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


def is_data(found: object) -> TypeGuard[type[Data]]:
    """Whether `found` is a data class."""
    return isinstance(found, DataType)
