"""Discord's responses: JSON, and its errors by their JSON codes."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

ClosedDmCode = Literal[50007, 50278]
"""What tells that somebody takes no direct messages: both occur at Discord."""
Ending = Literal["answer", "cut_off", "reset", "close", "hang"]
VIA = {"Via": "1.1 loopback"}
_encode = msgspec.json.Encoder().encode


class ApiError(Exception):
    """The request is answered with this status, code and message."""

    def __init__(
        self, status: int, code: int, message: str, errors: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{status} ({code}): {message}")
        self.status = status
        self.body: dict[str, Any] = {"message": message, "code": code}
        if errors is not None:
            self.body["errors"] = errors


def invalid_form(field: str, code: str, message: str) -> ApiError:
    """50035: one field of the request is wrong; ``code`` is Discord's name for how."""
    errors = {field: {"_errors": [{"code": code, "message": message}]}}
    return ApiError(400, 50035, "Invalid Form Body", errors)


def unauthorized() -> ApiError:
    return ApiError(401, 0, "401: Unauthorized")


def no_such_path() -> ApiError:
    return ApiError(404, 0, "404: Not Found")


def unknown_channel() -> ApiError:
    return ApiError(404, 10003, "Unknown Channel")


def unknown_guild() -> ApiError:
    return ApiError(404, 10004, "Unknown Guild")


def unknown_member() -> ApiError:
    return ApiError(404, 10007, "Unknown Member")


def unknown_message() -> ApiError:
    return ApiError(404, 10008, "Unknown Message")


def unknown_user() -> ApiError:
    return ApiError(404, 10013, "Unknown User")


def unknown_emoji() -> ApiError:
    return ApiError(400, 10014, "Unknown Emoji")


def unknown_event() -> ApiError:
    return ApiError(404, 10070, "Unknown Guild Scheduled Event")


def quarantined() -> ApiError:
    text = "Your bot has been flagged by our anti-spam system for abusive behavior."
    return ApiError(403, 20026, text)


def too_many_reactions() -> ApiError:
    return ApiError(400, 30010, "Maximum number of reactions reached (20)")


def too_many_events() -> ApiError:
    return ApiError(400, 30038, "Maximum number of guild scheduled events reached (100)")


def opening_dms_too_fast() -> ApiError:
    return ApiError(403, 40003, "You are opening direct messages too fast.")


def missing_access() -> ApiError:
    return ApiError(403, 50001, "Missing Access")


def not_in_a_dm() -> ApiError:
    return ApiError(403, 50003, "Cannot execute action on a DM channel")


def not_the_author() -> ApiError:
    return ApiError(403, 50005, "Cannot edit a message authored by another user")


def empty_message() -> ApiError:
    return ApiError(400, 50006, "Cannot send an empty message")


def dms_closed(code: ClosedDmCode, *, opening: bool = False) -> ApiError:
    """50007 is a 400 on ``opening`` the channel, and a 403 on sending."""
    if code == 50278:
        text = "Cannot send messages to this user due to having no mutual guilds"
        return ApiError(403, code, text)
    return ApiError(400 if opening else 403, code, "Cannot send messages to this user")


def missing_permissions() -> ApiError:
    return ApiError(403, 50013, "Missing Permissions")


def thread_archived() -> ApiError:
    return ApiError(400, 50083, "Thread is archived")


def invalid_json() -> ApiError:
    return ApiError(400, 50109, "The request body contains invalid JSON.")


def reaction_blocked() -> ApiError:
    return ApiError(403, 90001, "Reaction blocked")


def thread_locked() -> ApiError:
    return ApiError(403, 160005, "Thread is locked")


def too_many_threads() -> ApiError:
    return ApiError(400, 160006, "Maximum number of active threads reached")


def event_finished() -> ApiError:
    return ApiError(400, 180000, "Cannot update a finished event")


class ApiResponse(NamedTuple):
    """``ending`` says what happens to the connection: ``cut_off`` closes it after half of the
    body; anything else but ``answer`` sends nothing."""

    status: int
    body: bytes
    headers: dict[str, str]
    content_type: str = "application/json"
    ending: Ending = "answer"

    @property
    def was_sent(self) -> bool:
        """At least the status reached the client."""
        return self.ending in ("answer", "cut_off")


def json_response(status: int, json: Any, headers: dict[str, str]) -> ApiResponse:
    """``json`` None: an empty body, which Discord does not call JSON."""
    if json is None:
        return ApiResponse(status, b"", {**VIA, **headers}, "text/html")
    return ApiResponse(status, _encode(json), {**VIA, **headers})


def error_response(error: ApiError, headers: dict[str, str]) -> ApiResponse:
    return json_response(error.status, error.body, headers)
