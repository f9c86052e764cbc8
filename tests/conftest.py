"""What holds for every test."""

from __future__ import annotations

import pytest
import structlog


@pytest.fixture(autouse=True)
def lines_name_no_earlier_run() -> None:
    """A run in this process names itself in every later log line; tests share their process."""
    structlog.contextvars.clear_contextvars()
