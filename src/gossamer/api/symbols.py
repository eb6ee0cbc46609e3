"""Names of addresses, out of an ELF file."""

from __future__ import annotations

import difflib
from bisect import bisect_right
from pathlib import Path
from typing import Final

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from gossamer.base.errors import ConfigError, HostError

#: Symbols that are read of one file.
MOST: Final = 1 << 21
_KINDS: Final = frozenset({"STT_FUNC", "STT_OBJECT", "STT_NOTYPE"})


class Symbols:
    """Addresses by name and names by address."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        self._sorted: list[tuple[int, str]] = []

    def load(self, path: Path | str) -> int:
        """Read the symbol table of an ELF file, as well as those read before; how many it has."""
        found: dict[str, tuple[int, int]] = {}
        try:
            with Path(path).open("rb") as file:
                for section in ELFFile(file).iter_sections():
                    if not isinstance(section, SymbolTableSection):
                        continue
                    for symbol in section.iter_symbols():
                        entry = symbol.entry
                        known = entry["st_info"]["type"] in _KINDS
                        defined = entry["st_shndx"] != "SHN_UNDEF"
                        if symbol.name and known and defined and len(found) < MOST:
                            found[symbol.name] = entry["st_value"], entry["st_size"]
        except OSError as fault:
            raise HostError(f"{path}: {fault.strerror}") from None
        except (ELFError, ValueError, KeyError, AttributeError) as fault:
            raise ConfigError(f"{path}: expected an ELF file: {fault}") from None
        if not found:
            raise ConfigError(f"{path}: has no symbols (it is stripped)")
        self._places |= found
        self._sorted = sorted((address, name) for name, (address, _) in self._places.items())
        return len(found)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> int:
        """The address of `name`; ConfigError when there is no such symbol."""
        return self.place(name)[0]

    def place(self, name: str) -> tuple[int, int]:
        """Address and size, bytes, of `name`."""
        if name not in self._places:
            near = difflib.get_close_matches(name, self._places, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            if not self._places:
                hint = ": vm.symbols.load(FILE) reads an ELF file"
            raise ConfigError(f"no symbol {name!r}{hint}")
        return self._places[name]

    def near(self, address: int) -> str:
        """``name+0x10``, or the address in hexadecimal where no symbol comes before it."""
        n = bisect_right(self._sorted, (address, "\U0010ffff")) - 1
        if n < 0:
            return f"{address:#010x}"
        start, name = self._sorted[n]
        return name if start == address else f"{name}+{address - start:#x}"


def address_of(symbols: Symbols, place: int | str) -> int:
    """An effective address that is given as a number or by name."""
    if isinstance(place, str):
        return symbols[place]
    if not 0 <= place < 1 << 32:
        raise ConfigError(f"{place:#x}: expected an address of 32 bits")
    return place
