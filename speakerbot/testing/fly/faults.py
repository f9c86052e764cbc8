"""What can go wrong between a client and Fly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "400", "401", "429", "408", "500", "503", "capacity", "text", "html", "nonsense", "lost",
    "unheard", "hang", "crash", "revert",
]  # fmt: skip

ANSWERS: dict[str, tuple[int, str, str]] = {
    "400": (400, "application/json", '{"error":"invalid_argument: no"}'),
    "401": (401, "application/json", '{"error":"unauthorized"}'),
    "429": (429, "text/plain", "rate limit exceeded"),
    "408": (408, "application/json", '{"error":"deadline_exceeded: timeout"}'),
    "500": (500, "application/json", '{"error":"internal server error"}'),
    "503": (503, "text/plain", "upstream connect error"),
    "capacity": (
        503,
        "application/json",
        '{"error":"insufficient resources available","status":"insufficient_capacity"}',
    ),
    "text": (502, "text/plain", "Bad Gateway"),
    "html": (
        502,
        "text/html",
        "<html><head><style>h1{}</style></head><body><h1>502</h1></body></html>",
    ),
    "nonsense": (200, "text/html", "<html><body>Sign in to continue</body></html>"),
}
"""Faults in which the request was not acted on: status, content type, body."""


@dataclass(slots=True)
class FlyFault:
    """Happens to requests of ``action`` ("" means all), after ``skip`` of them, ``times`` often.
    ``machine``: only to requests about the machine of that name, as where its host is broken.

    lost: done, but the answer never comes. unheard: neither. hang: neither, and the connection
    stays open for ``seconds`` of real time. crash: done (or, if ``before``, not), and the client is
    dead: ``FlyWorld.on_crash`` is called and nothing is answered until ``FlyWorld.revive``. revert:
    an update answers 200 and is taken back ``seconds`` later; until then the machine is
    ``replacing``, or, if ``quiet``, looks updated.
    """

    kind: Kind
    action: str = ""
    skip: int = 0
    times: int = 1
    before: bool = False
    machine: str = ""
    seconds: float = 3.0
    quiet: bool = False

    def strikes(self, action: str, machine: str) -> bool:
        """Whether it happens to this request; counts it."""
        if self.machine and self.machine != machine:
            return False
        if self.times <= 0 or (self.action and self.action != action):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True
