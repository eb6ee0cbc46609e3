"""Data classes: what they share with Python's dataclasses, and that they cost little to declare."""

import copy
import dataclasses
import inspect
import pickle
from functools import cached_property

import pytest

from gossamer.base.data import MISSING, Data, asdict, field, fields, is_data, replace


class Point(Data):
    """Frozen."""

    x: int
    y: int = 2


class Bag(Data, frozen=False):
    name: str
    items: list[int] = field(default_factory=list)
    note: str = field(default="", compare=False, repr=False)


class Deep(Point):
    z: int = 3


class Sum(Data):
    a: int
    b: int
    total: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.a + self.b)


class Empty(Data):
    pass


class Same(Data, eq=False):
    x: int


class Lazy(Data):
    __slots__ = ("__dict__",)

    x: int

    @cached_property
    def double(self) -> int:
        return 2 * self.x


def test_values_are_given_by_place_and_by_name_and_have_defaults() -> None:
    assert (Point(1).y, Point(1, 5).y, Point(y=7, x=1).y) == (2, 5, 7)
    assert (Deep(1).z, Deep(1, 2, 9).z, Deep(1).y) == (3, 9, 2)
    assert Sum(1, 2).total == 3


def test_arguments_that_lack_or_are_too_much_are_named_as_python_does() -> None:
    with pytest.raises(TypeError, match=r"Point.__init__\(\) missing 1 .*argument: 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'w'"):
        Point(1, w=2)  # type: ignore[call-arg]


def test_frozen_data_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="Point is frozen: cannot assign 'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="Point is frozen: cannot delete 'x'"):
        del point.x
    assert point.x == 1


def test_fields_are_all_that_can_be_assigned() -> None:
    bag = Bag("a")
    bag.name = "b"
    with pytest.raises(AttributeError):
        bag.nane = "c"  # type: ignore[attr-defined]
    assert bag.name == "b"


def test_each_instance_gets_a_container_of_its_own() -> None:
    one, other = Bag("a"), Bag("a")
    one.items.append(1)
    assert other.items == []


def test_data_compare_by_class_and_compared_values() -> None:
    assert Point(1) == Point(1, 2) != Point(1, 3)
    assert Point(1) != Deep(1)
    assert Bag("a", note="x") == Bag("a", note="y")
    assert Empty() == Empty()
    assert hash(Point(1)) == hash(Point(1))
    assert Same(1) != Same(1)
    assert len({Same(1), Same(1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Bag("a"))


def test_text_names_class_and_shown_values() -> None:
    assert repr(Deep(1)) == "Deep(x=1, y=2, z=3)"
    assert repr(Bag("a", note="n")) == "Bag(name='a', items=[])"


def test_match_takes_values_by_place() -> None:
    match Point(1, 4):
        case Point(x, y):
            assert (x, y) == (1, 4)


def test_replace_makes_another_with_some_values_changed() -> None:
    assert replace(Point(1, 4), x=3) == Point(3, 4)
    assert replace(Sum(1, 2), b=5).total == 6


def test_copies_are_equal_and_pickles_too() -> None:
    for one in (Point(1), Bag("a", [1]), Empty()):
        assert copy.copy(one) == one
        assert copy.deepcopy(one) == one
        assert pickle.loads(pickle.dumps(one)) == one


def test_fields_are_described() -> None:
    x, y = fields(Point)
    assert (x.name, x.type, x.is_required, y.default, y.is_required) == (
        "x", int, True, 2, False,
    )  # fmt: skip
    assert x.default is MISSING
    assert fields(Point(1)) == (x, y)
    assert is_data(Point)
    assert not is_data(Point(1))
    assert not is_data(int)


def test_help_shows_the_arguments() -> None:
    assert str(inspect.signature(Point)) == "(x: int, y: int = 2) -> None"
    Point(1)
    assert str(inspect.signature(Point)) == "(x: int, y: int = 2) -> None"


def test_pythons_own_functions_take_data() -> None:
    assert dataclasses.is_dataclass(Point)
    assert dataclasses.asdict(Bag("a", [1])) == {"name": "a", "items": [1], "note": ""}
    assert dataclasses.replace(Point(1), y=9) == Point(1, 9)
    assert [one.name for one in dataclasses.fields(Deep)] == ["x", "y", "z"]


def test_asdict_goes_into_containers() -> None:
    class Tree(Data):
        top: Point
        rest: tuple[Point, ...]
        by_name: dict[str, Point]

    assert asdict(Tree(Point(1), (Point(2),), {"a": Point(3)})) == {
        "top": {"x": 1, "y": 2},
        "rest": ({"x": 2, "y": 2},),
        "by_name": {"a": {"x": 3, "y": 2}},
    }


def test_what_a_class_keeps_beside_its_fields_is_said() -> None:
    lazy = Lazy(4)
    assert (lazy.double, lazy.double) == (8, 8)


def test_only_the_first_instance_has_the_method_written() -> None:
    class Late(Data):
        x: int

    first = Late.__init__
    Late(1)
    assert Late.__init__ is not first
    assert Late.__init__.__code__.co_varnames == ("self", "x")
