"""The log's settings: which lines pass, and how their time is written."""

from __future__ import annotations

import io
import logging
import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, RequestError
from skerry.node.serve.logs import Logs

LINES = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}


def begun(level=logging.WARNING):
    """Return a logger that nobody else has, what it has written, and its settings."""
    logger = logging.Logger("own", level)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    return logger, written, Logs(logger)


def lines(logger, written):
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "x")
    found = [line.split()[0] for line in written.getvalue().splitlines()]
    written.seek(0)
    written.truncate()
    return found


@pytest.mark.parametrize(
    ("level", "on"),
    [("DEBUG", [1, 1, 1, 1]), ("INFO", [0, 1, 1, 1]), ("WARNING", [0, 0, 1, 1]), ("ERROR", [0, 0, 0, 1])],
)
def test_they_begin_as_the_log_does(level, on):
    logger, written, logs = begun(getattr(logging, level))
    before = lines(logger, written)
    told = logs.settings()
    assert [told["log_verbose_level"], *(told[name] for name in LINES)] == on
    assert (told["log_file"], told["log_format"]) == ("", "default")
    logs.change({"log_format": "default"})
    assert lines(logger, written) == before


@pytest.mark.parametrize("on", list(product([False, True], repeat=4)))
def test_each_kind_of_line_is_on_or_off(on):
    logger, written, logs = begun()
    verbose, *rest = on
    logs.change({"log_verbose_level": 2 * verbose, **dict(zip(LINES, rest, strict=True))})
    kinds = [["DEBUG"], ["INFO"], ["WARNING"], ["ERROR", "CRITICAL"]]
    assert lines(logger, written) == [name for names, yes in zip(kinds, on, strict=True) if yes for name in names]
    assert logs.settings()["log_verbose_level"] == 2 * verbose


def test_only_what_is_named_changes():
    _, _, logs = begun()
    before = logs.settings()
    logs.change({"log_info": True})
    assert logs.settings() == {**before, "log_info": True}


def test_the_time_in_iso_8601():
    logger, written, logs = begun()
    logs.change({"log_format": "ISO8601"})
    logger.warning("hello")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING own: hello\n", written.getvalue())
    logs.change({"log_format": "default"})
    logger.warning("again")
    assert written.getvalue().endswith("WARNING again\n")


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"log_file": "/tmp/x"}, Invalid, "log_file: the log goes to standard error"),
        ({"log_info": 1}, Invalid, "log_info: expected true or false; got 1"),
        ({"log_verbose_level": -1}, Invalid, "log_verbose_level: expected a whole number from 0"),
        ({"log_format": "xml"}, Invalid, "log_format: expected one of default, ISO8601"),
        ({"log_all": True}, Invalid, "log_all: unknown setting; expected one of log_info"),
    ],
)
def test_what_cannot_be_is_named_and_nothing_changes(changes, error, text):
    logger, written, logs = begun()
    before = logs.settings(), lines(logger, written)
    with pytest.raises(error, match=text):
        logs.change({"log_info": True, **changes})
    assert (logs.settings(), lines(logger, written)) == before


@given(st.dictionaries(st.sampled_from([*LINES, "log_verbose_level", "log_format", "x"]), st.from_type(object)))
def test_arbitrary_settings_raise_request_errors_alone(changes):
    _, _, logs = begun()
    try:
        logs.change(changes)
    except RequestError:
        return
    assert set(changes) <= set(logs.settings())
