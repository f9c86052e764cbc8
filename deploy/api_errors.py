"""What Fly's answers mean, as errors that a person can act on, whatever their shape. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from speakerbot.errors import ConfigError, SpeakerbotError, TokenRefused, Unreachable

_TAG = re.compile(r"<(style|script).*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


class Conflict(SpeakerbotError):
    """Somebody else holds the machine's lease, or has changed it: look again."""

    exit_code = 69


class NameTaken(Conflict):
    """A machine of that name exists already."""


class NoCapacity(Unreachable):
    """Fly has no room for this machine at the moment; another one may fit."""


class Gone(SpeakerbotError):
    """The machine does not exist any more."""

    exit_code = 69


class ImageMissing(ConfigError):
    """Fly cannot find the image. Right after a push that may pass."""


class FlyRefused(ConfigError):
    """Fly does not accept what it was sent."""


@dataclass(frozen=True, slots=True)
class FlyAnswer:
    """One answer of Fly. ``about`` is the request, for messages."""

    about: str
    app: str
    status: int
    body: str
    request_id: str = ""
    cursor: str = ""

    @property
    def retryable(self) -> bool:
        return self.status in _RETRYABLE

    def json(self) -> Any:
        """The body. Raises Unreachable if it is something else."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise self.unexpected(f"{self.message() or 'nothing'!r} instead of JSON") from error

    def unexpected(self, what: str) -> Unreachable:
        """An answer that makes no sense."""
        return Unreachable(f"Fly answered {self.about} with {what}{self._request()}")

    def message(self) -> str:
        """The message in the body, be it JSON, HTML or plain text, on one short line."""
        text = self.body
        try:
            document = json.loads(text)
        except ValueError:
            text = _TAG.sub(" ", text)
        else:
            if isinstance(document, dict):
                text = str(document.get("error") or document.get("message") or text)
        return " ".join(text.split())[:300]

    def error(self) -> SpeakerbotError:
        """What an answer that is not a success means."""
        said = f"Fly answered {self.about} with {self.status}: {self.message()}{self._request()}"
        create = f"`fly tokens create deploy -a {self.app}`"
        if self.status == 401:
            return TokenRefused(f"{said}\nThe token is not valid: create one with {create} and set "
                                "it as FLY_API_TOKEN")  # fmt: skip
        if self.status == 403:
            return TokenRefused(f"{said}\nThe token is not for app {self.app}: create one "
                                f"that is with {create} and set it as FLY_API_TOKEN")  # fmt: skip
        if "manifest" in self.body.lower().replace("_", " ") and self.status < 500:
            return ImageMissing(f"{said}\nThe image does not exist: build and push it with "
                                "`make cron-deploy`, or name another with --image")  # fmt: skip
        return self._by_status(said)

    def _by_status(self, said: str) -> SpeakerbotError:
        if self.status == 409 and "name" in self.body:
            return NameTaken(said)
        if self.status in (409, 412):
            return Conflict(said)
        if self.status == 404:
            return Gone(said)
        if "insufficient" in self.body:
            return NoCapacity(f"{said}\nThere is no room in that region now: try again later, or "
                              "name another region")  # fmt: skip
        if self.retryable or self.status >= 500:
            return Unreachable(said)
        return FlyRefused(said)

    def _request(self) -> str:
        return f" (request {self.request_id})" if self.request_id else ""
