"""Service functions: pure functions over bit vectors that bodies call where inlining is too big.

A service is written in the same expressions as the bodies.  A reader builds it once (the evaluator
walks `Service.result`; the engine emits one function a service) and bodies hold a ``call`` of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final

from gossamer.isa.answers import ANSWERS, Answer
from gossamer.isa.expr import Expr
from gossamer.isa.ops import OPS


class Service:
    """A named function of parameters of `widths` bits whose result has `width` bits.

    `wide`: only bodies of 64-bit models call it.
    """

    def __init__(
        self,
        name: str,
        widths: tuple[int, ...],
        width: int,
        build: Callable[..., Expr],
        *,
        wide: bool = False,
    ) -> None:
        self.name, self.widths, self.width, self._build = name, widths, width, build
        self.wide = wide

    @cached_property
    def result(self) -> Expr:
        """The result as an expression over the ``arg`` leaves, numbered from 0."""
        e = self._build(*(Expr("arg", w, (), n) for n, w in enumerate(self.widths)))
        assert e.width == self.width, f"{self.name}: {e.width} bits, expected {self.width}"
        return e

    def __call__(self, *args: Expr) -> Expr:
        """A call of this service in a body."""
        widths = tuple(a.width for a in args)
        assert widths == self.widths, f"{self.name}{widths}, expected {self.widths}"
        return Expr("call", self.width, args, self.name)

    def evaluate(self, values: list[int]) -> int:
        """The value of a call."""
        return _evaluate(self.result, values, {})


def _evaluate(e: Expr, values: list[int], known: dict[Expr, int]) -> int:
    if e.op == "const":
        return int(e.arg)
    if e.op == "arg":
        return values[int(e.arg)]
    if e in known:
        return known[e]
    if e.op in ("select", "choose"):  # operations have no effects, so `select` may be lazy too
        taken = e.args[1] if _evaluate(e.args[0], values, known) else e.args[2]
        value = _evaluate(taken, values, known)
    elif e.op == "call":
        value = SERVICES[str(e.arg)].evaluate([_evaluate(a, values, known) for a in e.args])
    else:
        operands = [_evaluate(a, values, known) for a in e.args]
        value = OPS[e.op](e.width, [a.width for a in e.args], operands)
    known[e] = value
    return value


class Answered(Service):
    """A service that Python answers in every engine; native code calls it by its `number`."""

    def __init__(self, answer: Answer, number: int) -> None:
        super().__init__(answer.name, answer.widths, answer.width, _no_text, wide=True)
        self.number, self._compute = number, answer.compute

    def evaluate(self, values: list[int]) -> int:
        return self._compute(*values)


def _no_text(*args: Expr) -> Expr:
    raise AssertionError("Python answers this service: it has no text")


SERVICES: Final[dict[str, Service]] = {a.name: Answered(a, n) for n, a in enumerate(ANSWERS)}


def service(
    *widths: int, result: int, wide: bool = False
) -> Callable[[Callable[..., Expr]], Service]:
    """Register the decorated function of expressions of `widths` bits as a service."""

    def register(build: Callable[..., Expr]) -> Service:
        name = build.__name__
        assert name not in SERVICES, f"service {name} is registered twice"
        SERVICES[name] = Service(name, widths, result, build, wide=wide)
        return SERVICES[name]

    return register
