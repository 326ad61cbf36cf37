"""A progress bar on standard error, for people only: nothing is drawn where nobody looks.

Promises: it costs nothing when standard error is no terminal, and standard output is never touched.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """Called with (done, of); draws itself from the first call on, and goes away when done."""

    def __init__(self, what: str, *, with_rate: bool = False) -> None:
        """`with_rate` shows how many a second, for work of minutes and more."""
        self._what, self._with_rate = what, with_rate
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._is_seen = sys.stderr.isatty()

    def __call__(self, done: int, of: int) -> None:
        """Show how far it is."""
        if not self._is_seen:
            return
        if self._progress is None:
            from rich.console import Console
            from rich.progress import Progress, TextColumn

            columns = list(Progress.get_default_columns())
            if self._with_rate:
                columns.append(TextColumn("{task.completed}/{task.total}, {task.fields[rate]}/s"))
            self._progress = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._progress.start()
            self._task = self._progress.add_task(self._what, total=of, rate="?", completed=done)
        if self._task is not None:
            speed = self._progress.tasks[self._task].speed
            rate = "?" if speed is None else f"{speed:,.0f}"
            self._progress.update(self._task, completed=done, total=of, rate=rate)
        if done >= of:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress, self._task = None, None
