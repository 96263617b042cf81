"""What is drawn anew in a terminal leaves nothing behind, also where the terminal has another size by then."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from prompt_toolkit.application import Application
from prompt_toolkit.layout.screen import Screen

from roommate.settings import config

SAVE, RESTORE, ERASE_LINE = "\x1b7", "\x1b8", "\r\x1b[K"
"""The cursor's place, https://vt100.net/docs/vt510-rm/DECSC.html"""


def folded(screen: Screen, rows: Iterable[int], columns: int) -> int:
    """How many rows these are in a terminal that has so many `columns` now."""
    widths = (
        max((at for at, cell in screen.data_buffer[row].items() if cell.char != " " or cell.style), default=0) + 1
        for row in rows
    )
    return sum(ceil(width / columns) for width in widths)


class ErasingApplication(Application[None]):
    """A terminal that becomes narrower folds the lines that stand there, so that what was drawn begins further up;
    xterm and the console alone cut them off."""

    def erase(self) -> None:
        """What is drawn; more can be printed there. Line by line: what is erased at one go from the top of the screen
        on tmux keeps in its history."""
        screen = self.renderer.last_rendered_screen
        if screen is not None:
            cursor, columns = screen.get_cursor_position(self.layout.current_window), self.output.get_size().columns
            terminal = config.environment_of_others()
            cut_off = "XTERM_VERSION" in terminal or terminal.get("TERM") == "linux"
            width = 1 << 16 if cut_off else columns
            above = folded(screen, range(cursor.y), width) + cursor.x // width
            rows = folded(screen, range(screen.height), width)
            self.output.write_raw(SAVE)
            self.output.cursor_up(above)
            for _ in range(rows):
                self.output.write_raw(ERASE_LINE)
                self.output.cursor_down(1)
            self.output.write_raw(RESTORE)
            self.output.cursor_up(max(0, above - cursor.y))
        self.renderer.erase()

    def _on_resize(self) -> None:
        self.erase()
        super()._on_resize()
