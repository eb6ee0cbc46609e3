"""What the display shows: an array, a PNG, a picture in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.base.errors import ConfigError
from gossamer.base.late import np
from gossamer.control.picture import Picture, png, write_picture
from gossamer.control.vm import Vm

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Screen:
    """The screen of a machine; ConfigError where it has none."""

    def __init__(self, control: Vm) -> None:
        self._control = control

    def _picture(self) -> Picture:
        return Picture(*self._control.screen())

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        shown = self._picture()
        return shown.width, shown.height

    def array(self) -> NDArray[np.uint8]:
        """Height × width × 3: red, green, blue, 0 to 255."""
        shown = self._picture()
        return np.frombuffer(shown.rgb, np.uint8).reshape(shown.height, shown.width, 3).copy()

    def png(self) -> bytes:
        """The picture as a PNG file's bytes."""
        return png(self._picture())

    def save(self, path: Path | str) -> None:
        """Write a file; its suffix, .png or .ppm, says which kind."""
        place = Path(path)
        kind = place.suffix.lstrip(".").lower()
        if kind not in ("png", "ppm"):
            raise ConfigError(f"{place}: expected a name that ends in .png or .ppm")
        write_picture(place, self._picture(), kind)

    def _repr_png_(self) -> bytes | None:
        return self.png() if self._control.machine.display is not None else None
