"""The log's settings, as Triton's logging extension has them: which lines are written, and how their time is.

They hold for this process. Workers write their warnings and errors to the same place whatever is set here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from skerry.core.errors import Invalid
from skerry.core.fields import Fields

FORMATS = ("default", "ISO8601")
MAX_VERBOSE = (1 << 32) - 1  # Triton's is a uint32; there is one level of debug lines here
SILENT = logging.CRITICAL + 1
LEVELS = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
_ISO = "%(asctime)s %(levelname)s %(name)s: %(message)s"

Value = bool | int | str


class Logs(logging.Filter):
    """What a logger and its handlers write. Nothing is touched before something is set."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        super().__init__()
        self._logger = logger or logging.getLogger()
        self._formatters: dict[logging.Handler, logging.Formatter | None] = {}  # as they were
        level = self._logger.level
        self._set: dict[str, Any] = {name: level <= least for name, least in LEVELS.items()}
        self._set |= {"log_verbose_level": int(level <= logging.DEBUG), "log_format": FORMATS[0]}

    def settings(self) -> dict[str, Value]:
        """Return every setting."""
        return {"log_file": "", **self._set}

    def change(self, changes: Mapping[str, object]) -> None:
        """Change the settings named; raise Invalid naming one that cannot be, with none changed."""
        fields = Fields(changes, "")
        if changes.get("log_file", "") != "":  # who read all settings may write all
            raise Invalid("log_file: the log goes to standard error; where that goes is not for requests to say")
        found: dict[str, Any] = {name: fields.flag(name) for name in LEVELS if name in changes}
        if "log_verbose_level" in changes:
            found["log_verbose_level"] = fields.whole("log_verbose_level", high=MAX_VERBOSE)
        if "log_format" in changes:
            found["log_format"] = fields.choice("log_format", FORMATS)
        for name in fields.rest().keys() - {"log_file"}:
            raise Invalid(f"{name[:128]}: unknown setting; expected one of {', '.join(self._set)}")
        self._set |= found
        self._apply()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        if record.levelno < logging.INFO:
            return bool(self._set["log_verbose_level"])
        name = "log_info" if record.levelno < logging.WARNING else "log_warning"
        return bool(self._set["log_error" if record.levelno >= logging.ERROR else name])

    def _apply(self) -> None:
        levels = [level for name, level in LEVELS.items() if self._set[name]]
        self._logger.setLevel(logging.DEBUG if self._set["log_verbose_level"] else min(levels, default=SILENT))
        for handler in self._logger.handlers:
            before = self._formatters.setdefault(handler, handler.formatter)
            handler.addFilter(self)
            handler.setFormatter(_iso() if self._set["log_format"] == "ISO8601" else before)


def _iso() -> logging.Formatter:
    found = logging.Formatter(_ISO, "%Y-%m-%dT%H:%M:%SZ")
    found.converter = time.gmtime
    return found
