"""Every error a person can meet, with its exit code.

The message of an error says what is wrong, where, and what to do. Adapters translate the
exceptions of their drivers into these, ``from`` the cause; only the command line turns them
into an exit.
"""

from __future__ import annotations

from collections.abc import Sequence


class SpeakerbotError(Exception):
    """Something went wrong that has no class of its own: a bug."""

    exit_code = 1


class UsageError(SpeakerbotError):
    """The command was called in a way that makes no sense."""

    exit_code = 2


class InputRefused(SpeakerbotError):
    """Input data has problems; nothing of it was taken. ``problems`` names each with its place."""

    exit_code = 65

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{source}: nothing was imported:\n{lines}")


class DateTaken(SpeakerbotError):
    """There is already a talk on that date; one talk a date."""

    exit_code = 65


CORRECT_IT = "Correct it there; no message about it is sent until then."


class DamagedTalk(SpeakerbotError):
    """The talk is in the store, but its date or its id cannot be read."""

    exit_code = 65

    def __init__(self, talk_id: str, why: str) -> None:
        super().__init__(f"talk {talk_id!r} is in the store but hidden: {why}. {CORRECT_IT}")


class NotFound(SpeakerbotError):
    """The named thing is not in the store."""

    exit_code = 65


class SourceRefused(SpeakerbotError):
    """What a programme's source answered, or where it lies, is not taken; nothing was changed."""

    exit_code = 65


class Unreachable(SpeakerbotError):
    """The store, Discord, Fly or a programme's source did not answer, after retries."""

    exit_code = 69


class StoreLocked(SpeakerbotError):
    """Another process kept the SQLite file locked for too long."""

    exit_code = 75


class TokenRefused(SpeakerbotError):
    """The service refused the token."""

    exit_code = 77


class ConfigError(SpeakerbotError):
    """Configuration is missing or wrong. ``problems`` names every setting at once."""

    exit_code = 78

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class TemplateError(ConfigError):
    """The text called ``template`` is wrong, or cannot be made from the values of one message.
    ``problems`` name file and line. Only messages that use it cannot be sent."""

    def __init__(self, template: str, *problems: str) -> None:
        super().__init__(*problems)
        self.template = template


class StoreCorrupt(ConfigError):
    """The store's file is not our database, or is damaged. It was left as it is."""


class StoreTooNew(ConfigError):
    """The store was written by a newer speakerbot than this one."""
