"""Forming a region: the control-flow graph of hot code over decoded entries.

A node is an instruction at `delta` (bytes from the start of the head's page) under a stack of
return addresses: a call is followed inside, so the same instruction may be several nodes.  The
graph grows breadth first from the head; what is not decoded, not supported or beyond the limits is
outside, and an edge there leaves the region.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from gossamer.base.bits import signed
from gossamer.base.data import Data, field
from gossamer.base.units import PAGE_SIZE
from gossamer.isa.architecture import USUAL

if TYPE_CHECKING:
    from gossamer.engine.regions.code import Code, Codes, Key

#: Regions of so many words are taken into others.
_SHORT: Final = 16
#: How far apart pages of a region may lie.
APART: Final = 64


class Limits(Data):
    """How big a region may grow."""

    #: Instructions; a straight line that has begun may go on to `in_line`.
    instructions: int = 100
    in_line: int = 600
    #: Calls followed inside of calls.
    depth: int = 2
    pages: int = 4


#: (delta of the return, delta of the callee) of each call entered, outermost first.
Stack = tuple[tuple[int, int], ...]
Place = tuple[int, Stack]


class Source(Protocol):
    """The code that a region is formed from, as it lies in memory now."""

    def page(self, number: int) -> int | None:
        """Arena page of the head's page + `number` pages, None where no fetch goes now."""

    def word(self, page: int, offset: int) -> int | None:
        """The word at `offset` of an arena page, None when it is not decoded."""

    def targets(self, delta: int) -> Sequence[int]:
        """Where the indirect branch at `delta` was seen to go, most often first."""

    def size(self, delta: int) -> int:
        """Words of the region that begins at `delta` already; 0 where none does."""

    #: Whether the region begins where another was left: it ends where a third one begins.
    is_rest: bool


class Edge(Data):
    """Where control goes: ``next``, ``taken``, or ``guess`` (when the target is equal)."""

    kind: str
    place: Place | None  # None: not to be followed
    delta: int


class Block(Data, frozen=False):
    """Instructions without a branch but the last, and the edges that follow."""

    instructions: list[tuple[int, Code]] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


class Region:
    """A formed region.  `pages` maps page numbers (0: the head's) to arena pages.

    `width` is that of the model's word; `narrow`: it is for the 32-bit mode of a 64-bit one.
    `orders`: the model has two orders of bytes; `little`: it is for the one that MSR[LE] chooses.
    """

    orders = little = False

    def __init__(
        self, head: int, pages: dict[int, int], width: int = USUAL, *, narrow: bool = False
    ) -> None:
        self.head = head
        self.pages = pages
        self.width, self.narrow = width, narrow
        self.words: dict[int, int] = {}
        self.blocks: dict[Place, Block] = {}
        #: Edges that go back: every cycle has one.
        self.back: set[tuple[Place, Place]] = set()
        #: Instructions, copies of the same one counted each.
        self.count = 0
        #: The blocks of each loop.
        self.natural: list[set[Place]] = []

    def settle(self) -> None:
        """The code is made: forget the graph, which takes far more memory than the words."""
        self.blocks, self.back, self.natural = {}, set(), []

    @property
    def start(self) -> Place:
        return self.head, ()

    def codes(self) -> Iterator[Code]:
        for b in self.blocks.values():
            for _, code in b.instructions:
                yield code

    def kept(self) -> set[Key]:
        """Registers that the region reads or writes."""
        return {key for code in self.codes() for key in code.reads | code.writes}

    def contains(self, page: int, offset: int) -> bool:
        """Whether the word at `offset` of an arena page is one of the region's."""
        for number, mine in self.pages.items():
            if mine == page and number * PAGE_SIZE + offset in self.words:
                return True
        return False

    def is_inside(self, place: Place | None) -> bool:
        return place in self.blocks

    def looks_up(self) -> bool:
        """Whether some edge inside goes through the fetch TLB in tier 0."""
        if len(self.pages) > 1:
            return True
        return any(
            e.kind == "guess" and self.is_inside(e.place)
            for b in self.blocks.values()
            for e in b.edges
        )

    def looked_up_first(self) -> set[int]:
        """Pages that are looked up where the region is entered: its head's, and those of loops.

        Others are looked up where an edge goes there from another page.
        """
        found = {0}
        for loop in self.natural:
            pages = {delta // PAGE_SIZE for p in loop for delta, _ in self.blocks[p].instructions}
            if len(pages) > 1:
                found |= pages
        return found

    def longest(self) -> int:
        """Instructions of the longest way that takes no edge back."""
        best: dict[Place, int] = {}
        for place in reversed(self.blocks):
            b = self.blocks[place]
            after = [
                best[e.place]
                for e in b.edges
                if e.place is not None and e.place in best and (place, e.place) not in self.back
            ]
            best[place] = len(b.instructions) + max(after, default=0)
        return max(best.values())


def is_another(source: Source, head: int, delta: int) -> bool:
    """Whether a region with its head at `head` leaves a function at `delta` to the region there.

    Else the same code would be in dozens of regions.  What is short is worth being there, above all
    what is called in a loop.  Branches are followed: behind each instruction of an interpreter its
    way to the next one is predicted better.
    """
    return delta != head and source.size(delta) > _SHORT


def has_its_own(source: Source, head: int, place: Place) -> bool:
    """Whether the rest of what a region grew no longer for ends at a place, another region's head.

    Else there would be a region for each way to cut a long loop into pieces.
    """
    return source.is_rest and place != (head, ()) and source.size(place[0]) > _SHORT


def form(source: Source, codes: Codes, head: int, limits: Limits) -> Region | None:
    """The region whose head is at `head` of the source's page; None where there is none."""
    nodes = _Nodes(source, codes, head, limits)
    nodes.grow()
    if (head, ()) not in nodes.found:
        return None
    region = Region(head, nodes.pages, codes.width, narrow=codes.narrow)
    _make_blocks(region, nodes)
    _order(region)
    _find_loops(region)
    used = {delta // PAGE_SIZE for b in region.blocks.values() for delta, _ in b.instructions}
    region.pages = {n: page for n, page in nodes.pages.items() if n in used}
    region.count = sum(len(b.instructions) for b in region.blocks.values())
    region.words = {
        delta: code.word for b in region.blocks.values() for delta, code in b.instructions
    }
    return region


class _Nodes:
    """Grows the graph node by node."""

    def __init__(self, source: Source, codes: Codes, head: int, limits: Limits) -> None:
        self.source, self.codes, self.head, self.limits = source, codes, head, limits
        self.pages: dict[int, int] = {}
        self.found: dict[Place, tuple[Code, list[Edge]]] = {}

    def grow(self) -> None:
        queue: deque[Place] = deque([(self.head, ())])
        while queue and len(self.found) < self.limits.instructions:
            place: Place | None = queue.popleft()
            while place is not None and place not in self.found:
                if len(self.found) > self.limits.in_line:
                    break
                if has_its_own(self.source, self.head, place):
                    break
                code = self._code(place[0])
                if code is None or not code.supported:
                    break
                edges = list(self._edges(place, code))
                self.found[place] = code, edges
                inside = [e.place for e in edges if e.place is not None]
                if code.branch is not None and len(self.found) >= self.limits.instructions:
                    break
                queue.extend(inside[1:])
                place = inside[0] if inside else None

    def _code(self, delta: int) -> Code | None:
        number = delta // PAGE_SIZE
        if number not in self.pages:
            if abs(number) > APART or len(self.pages) >= self.limits.pages:
                return None
            page = self.source.page(number)
            if page is None:
                return None
            self.pages[number] = page
        word = self.source.word(self.pages[number], delta % PAGE_SIZE)
        if word is None:
            return None
        return self.codes[word]

    def _edges(self, place: Place, code: Code) -> Iterator[Edge]:
        delta, stack = place
        b = code.branch
        if b is None or not (b.when.is_const and b.when.arg):
            yield Edge("next", (delta + 4, stack), delta + 4)
        if b is None:
            return
        if b.offset is not None:
            target = delta + signed(b.offset.value, b.offset.width)
            if not code.links:
                yield Edge("taken", (target, stack), target)
            elif self._enters(stack, target):
                yield Edge("taken", (target, (*stack, (delta + 4, target))), target)
            else:
                yield Edge("taken", None, target)
        elif ("lr", 0) in code.reads and not code.links and stack:
            yield Edge("guess", (stack[-1][0], stack[:-1]), stack[-1][0])
        elif not code.links and ("lr", 0) not in code.reads:
            # A return out of the region ends it: the place behind the call is a head of its own,
            # else each function's region would have its callers in it, too.
            for target in self.source.targets(delta):
                yield Edge("guess", (target, stack), target)

    def _enters(self, stack: Stack, target: int) -> bool:
        """Whether a call of `target` is followed: not too deep, no recursion."""
        if len(stack) >= self.limits.depth or target == self.head:
            return False
        if is_another(self.source, self.head, target):
            return False
        return all(callee != target for _, callee in stack)


def _make_blocks(region: Region, nodes: _Nodes) -> None:
    """Blocks begin at the head, at targets of branches, in a new page and where edges meet."""
    into: Counter[Place] = Counter()
    leaders = {region.start}
    for (delta, _), (code, edges) in nodes.found.items():
        for e in edges:
            if e.place is not None and e.place in nodes.found:
                into[e.place] += 1
                if code.branch is not None or e.delta // PAGE_SIZE != delta // PAGE_SIZE:
                    leaders.add(e.place)
    leaders |= {place for place, n in into.items() if n > 1}
    for leader in nodes.found:
        if leader in leaders:
            region.blocks[leader] = _block(leader, leaders, nodes)


def _block(leader: Place, leaders: set[Place], nodes: _Nodes) -> Block:
    block = Block()
    place = leader
    while True:
        code, edges = nodes.found[place]
        block.instructions.append((place[0], code))
        following = edges[0].place if code.branch is None else None
        if following is None or following not in nodes.found or following in leaders:
            block.edges = edges
            return block
        place = following


def _order(region: Region) -> None:
    """Put the blocks into reverse postorder, drop what cannot be reached, find edges back."""
    state = {region.start: 1}
    done: list[Place] = []
    stack = [(region.start, iter(_inside(region, region.start)))]
    while stack:
        place, rest = stack[-1]
        for target in rest:
            if state.get(target) == 1:
                region.back.add((place, target))
            elif target not in state:
                state[target] = 1
                stack.append((target, iter(_inside(region, target))))
                break
        else:
            state[place] = 2
            done.append(place)
            stack.pop()
    region.blocks = {place: region.blocks[place] for place in reversed(done)}


def _inside(region: Region, place: Place) -> list[Place]:
    edges = region.blocks[place].edges
    return [e.place for e in edges if e.place is not None and e.place in region.blocks]


def _find_loops(region: Region) -> None:
    """Blocks of the natural loops of the edges back, those of an interpreter's own loop aside.

    It goes from any of its instructions to any other by indirect branches, and rarely round.
    """
    before: dict[Place, set[Place]] = defaultdict(set)
    for place in region.blocks:
        for target in _inside(region, place):
            before[target].add(place)
    for source, header in region.back:
        seen = {header}
        work = [source]
        while work:
            place = work.pop()
            if place not in seen:
                seen.add(place)
                work.extend(before[place])
        if not _is_interpreter(region, source, header, seen):
            region.natural.append(seen)


def _is_interpreter(region: Region, source: Place, header: Place, loop: set[Place]) -> bool:
    """Whether a loop goes round by an indirect branch, or through one and several pages."""
    if _jumps(region.blocks[source], {header}):
        return True
    blocks = [region.blocks[place] for place in loop]
    pages = {delta // PAGE_SIZE for b in blocks for delta, _ in b.instructions}
    return len(pages) > 1 and any(_jumps(b, loop) for b in blocks)


def _jumps(block: Block, places: Collection[Place]) -> bool:
    """Whether a block ends in an indirect branch, no return, to one of these places."""
    if ("lr", 0) in block.instructions[-1][1].reads:
        return False
    return any(e.kind == "guess" and e.place in places for e in block.edges)
