"""How long work is shown: a line on stderr for each step when it is done, and on a terminal what runs now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Steps:
    """`step` is a context manager; steps may run side by side."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: dict[str, str] = {}
        self._status: Status | None = None

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Shows that `title` runs; what is said in between is shown with it, the last of it stays."""
        began = time.monotonic()
        self._show(title, "")
        try:
            yield lambda text: self._show(title, text)
        except BaseException:
            self._running[title] = ""  # what went wrong is said by whoever catches it
            self._end(title, "[red]✘[/]", began)
            raise
        self._end(title, "[green]✔[/]", began)

    def _show(self, title: str, text: str) -> None:
        self._running[title] = text
        if not self._console.is_terminal:
            if text:
                self._console.print(f"  {title}: {text}", markup=False, highlight=False, soft_wrap=True)
            return
        line = escape(" · ".join(f"{name}: {said}" if said else name for name, said in self._running.items()))
        if self._status is None:
            self._status = self._console.status(line)
            self._status.start()
        self._status.update(line)

    def _end(self, title: str, mark: str, began: float) -> None:
        said = self._running.pop(title)
        if not self._running and self._status is not None:
            self._status.stop()
            self._status = None
        took = f"{time.monotonic() - began:.1f} s"
        self._console.print(f"{mark} {title} [dim]{took}  {escape(said)}[/]", highlight=False, soft_wrap=True)
