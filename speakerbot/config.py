"""Settings from the environment and ``.env``, checked all at once.

The names are those of the Node bot where it has them, so one ``.env`` serves both; ours start
with ``SPEAKERBOT_``. The README lists them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

from speakerbot.clock import read_zone
from speakerbot.domain.reminder_offsets import DEFAULT as DEFAULT_OFFSETS
from speakerbot.domain.reminder_offsets import Offset, parse_offsets
from speakerbot.durations import format_duration, parse_duration
from speakerbot.errors import ConfigError
from speakerbot.logs import get_logger

T = TypeVar("T")

DISCORD_API = "https://discord.com/api/v10"
DateOrder = Literal["dmy", "mdy"]
ROUTES = ("dm", "thread", "channel", "inbox")
OURS = "SPEAKERBOT_"
PREFIXES = (OURS, "DISCORD_", "PROACTIVE_", "NODE_BOT_")
ELSEWHERE = frozenset(
    {
        "SPEAKERBOT_ENV_FILE",
        "SPEAKERBOT_TEST_MONGODB_URI",
        "SPEAKERBOT_TEST_FRESH_PROCESSES",
        "SPEAKERBOT_CRASH_SCHEDULES",
    }
)
"""Ours, but not among the settings."""
LEAST_KEEP = timedelta(days=30)
"""A record that is forgotten sooner could be of a message that is still decided."""
LEAST_KEEP_TEXTS = timedelta(days=2)
"""Whether an unconfirmed message arrived is found out by its text, up to a day after its expiry."""
LEAST_BEFORE, MOST_BEFORE = timedelta(minutes=1), timedelta(days=1)
"""How long before its start a talk may be announced."""
SHORT_LEASE = timedelta(seconds=90)
"""A lease below this does not cover the longest send with its retries: accepted, with a warning."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a person can set. Secrets are left out of ``repr``."""

    database_url: str = field(repr=False)
    discord_token: str | None = field(repr=False, default=None)
    discord_api_base: str = DISCORD_API
    guild_id: str | None = None
    logs_channel_id: str | None = None
    announcements_channel_id: str | None = None
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    reminder_offsets: tuple[Offset, ...] = ()
    reminder_routes: tuple[str, ...] = ("dm", "thread")
    fallback_channel_id: str | None = None
    confirm: Literal["off", "reactions"] = "off"
    """How reminders ask speakers whether they will be there."""
    confirm_again: timedelta = timedelta(hours=4)
    """How long after that those who have not answered are asked again, and after that the
    organisers are told."""
    date_order: DateOrder | None = None
    """Of dates like 05/06/2026 in files, where nothing in the file decides it."""
    weekly_mode: Literal["post", "edit"] = "post"
    engagement_every: timedelta = timedelta(days=14)
    engagement_empty_days: int = 14
    starting_before: timedelta = timedelta(minutes=15)
    """How long before its start a talk is announced."""
    starting_mention: str | None = None
    """The id of the role that is mentioned then."""
    changes_topic: bool = False
    """``changes`` announces changed topics too."""
    keep: timedelta = timedelta(days=400)
    """How long finished deliveries and runs are remembered."""
    keep_texts: timedelta = timedelta(days=30)
    """How long the texts of finished personal messages are."""
    lease: timedelta = timedelta(minutes=5)
    rate: float = 45.0
    new_dm_every: timedelta = timedelta(seconds=5)
    templates: Path | None = None
    schedules: Path = Path("deploy/schedules.json")
    sync_token: str | None = field(repr=False, default=None)
    """Shown to the source of ``talks sync``, over https and at its own host only."""
    enabled: bool = True
    disabled_jobs: frozenset[str] = frozenset()
    node_bot_coexist: bool = True

    @property
    def tells_nobody(self) -> bool:
        """Speakers are asked whether they will be there, and organisers have no channel in which
        to read of who does not answer."""
        return self.confirm != "off" and not self.logs_channel_id

    def runs(self, job: str) -> bool:
        """False: the kill switch, or the job's own, is off."""
        return self.enabled and job not in self.disabled_jobs


def environment(env: Mapping[str, str] | None = None, folder: Path | None = None) -> dict[str, str]:
    """``.env`` of ``folder`` (or the file ``SPEAKERBOT_ENV_FILE`` names; empty: none), overlaid
    with the environment, which wins."""
    variables = dict(os.environ if env is None else env)
    name = variables.get("SPEAKERBOT_ENV_FILE", ".env")
    file = (folder or Path.cwd()) / name
    if not name or not file.is_file():
        if "SPEAKERBOT_ENV_FILE" in variables and name:
            raise ConfigError(f"SPEAKERBOT_ENV_FILE: there is no file {file}")
        return variables
    from dotenv import dotenv_values

    try:
        # The Node bot reads the same file, and takes a ${…} in a password for what it is.
        written = dotenv_values(file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text: {error}") from error
    return {**{key: value for key, value in written.items() if value is not None}, **variables}


def load(variables: Mapping[str, str] | None = None) -> Settings:
    """Reads and checks every setting. Raises ConfigError naming all that are wrong at once."""
    settings, problems = read_settings(variables)
    if problems:
        raise ConfigError(*problems)
    return settings


def read_settings(variables: Mapping[str, str] | None = None) -> tuple[Settings, list[str]]:
    """The settings, with the default of each that is wrong, and what is wrong. Warns of names that
    look like ours and are not."""
    read = _Reader(environment() if variables is None else variables)
    settings = Settings(
        database_url=_database_url(read),
        discord_token=read("DISCORD_TOKEN", _text),
        discord_api_base=read("DISCORD_API_BASE", _base, DISCORD_API),
        guild_id=read("DISCORD_GUILD_ID", _snowflake),
        logs_channel_id=read("DISCORD_LOGS_CHANNEL_ID", _snowflake),
        announcements_channel_id=read("PROACTIVE_ANNOUNCEMENTS_CHANNEL_ID", _snowflake),
        timezone=read("SPEAKERBOT_TIMEZONE", read_zone, ZoneInfo("UTC")),
        reminder_offsets=read(
            "SPEAKERBOT_REMINDER_OFFSETS", parse_offsets, parse_offsets(DEFAULT_OFFSETS)
        ),
        reminder_routes=read("SPEAKERBOT_REMINDER_ROUTES", parse_routes, ("dm", "thread")),
        fallback_channel_id=read("SPEAKERBOT_FALLBACK_CHANNEL_ID", _snowflake),
        confirm=read("SPEAKERBOT_CONFIRM", _confirm, "off"),
        confirm_again=read("SPEAKERBOT_CONFIRM_AGAIN", _positive, timedelta(hours=4)),
        date_order=read("SPEAKERBOT_DATE_ORDER", _date_order),
        weekly_mode=read("SPEAKERBOT_WEEKLY_MODE", _weekly_mode, "post"),
        engagement_every=read("SPEAKERBOT_ENGAGEMENT_EVERY", _positive, timedelta(days=14)),
        engagement_empty_days=read("SPEAKERBOT_ENGAGEMENT_EMPTY_DAYS", _count, 14),
        starting_before=read("SPEAKERBOT_STARTING_BEFORE", _before_start, timedelta(minutes=15)),
        starting_mention=read("SPEAKERBOT_STARTING_MENTION", _snowflake),
        changes_topic=read("SPEAKERBOT_CHANGES_TOPIC", _switch, False),
        keep=read("SPEAKERBOT_KEEP", _at_least(LEAST_KEEP), timedelta(days=400)),
        keep_texts=read("SPEAKERBOT_KEEP_TEXTS", _at_least(LEAST_KEEP_TEXTS), timedelta(days=30)),
        lease=read("SPEAKERBOT_LEASE", _positive, timedelta(minutes=5)),
        rate=read("SPEAKERBOT_RATE", _rate, 45.0),
        new_dm_every=read("SPEAKERBOT_NEW_DM_EVERY", parse_duration, timedelta(seconds=5)),
        templates=read("SPEAKERBOT_TEMPLATES", _folder),
        schedules=read("SPEAKERBOT_SCHEDULES", Path, Path("deploy/schedules.json")),
        sync_token=read("SPEAKERBOT_SYNC_TOKEN", _header_value),
        enabled=read("SPEAKERBOT_ENABLED", _switch, True),
        disabled_jobs=_disabled_jobs(read),
        node_bot_coexist=read("NODE_BOT_COEXIST", _switch, True),
    )
    if "channel" in settings.reminder_routes and settings.fallback_channel_id is None:
        read.problems.append(
            "SPEAKERBOT_REMINDER_ROUTES names channel: set SPEAKERBOT_FALLBACK_CHANNEL_ID too"
        )
    if settings.starting_mention and settings.starting_mention == settings.guild_id:
        read.problems.append(
            "SPEAKERBOT_STARTING_MENTION is the server's own id, which is @everyone's role: name "
            "another role"
        )
    _warn_of_unknown(read.variables, read.names)
    return settings, read.problems


def _warn_of_unknown(variables: Mapping[str, str], known: Collection[str]) -> None:
    """A misspelt setting does nothing, without a word: so there is one."""
    for name in variables:
        if name in known or name in ELSEWHERE or not name.startswith(PREFIXES):
            continue
        from speakerbot.text import closest

        meant = closest(name, known, cutoff=0.8)
        # The Node bot has settings of its own under the other prefixes.
        if meant or name.startswith(OURS):
            hint = f"did you mean {meant}?" if meant else "the README lists all there are"
            get_logger().warning("setting_unknown", setting=name, hint=hint)


class _Reader:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.names: set[str] = set()
        """Every setting there is, once all are read."""
        self.problems: list[str] = []

    def __call__(self, name: str, parse: Callable[[str], T], default: T | None = None) -> T:
        self.names.add(name)
        text = self.variables.get(name, "").strip()
        if text:
            try:
                return parse(text)
            except ValueError as problem:
                self.problems.append(f"{name}: {problem}")
        return default  # type: ignore[return-value]  # None only where the setting may be None


def _database_url(read: _Reader) -> str:
    for name in ("DATABASE_URL", "MONGO_URI"):
        if url := read(name, str, ""):
            return url
    from platformdirs import user_data_path

    return f"sqlite:///{user_data_path('speakerbot', appauthor=False) / 'speakerbot.db'}"


def _disabled_jobs(read: _Reader) -> frozenset[str]:
    switches = {"reminders": "PROACTIVE_REMINDERS_ENABLED", "weekly": "PROACTIVE_WEEKLY_ENABLED"}
    return frozenset(job for job, name in switches.items() if not read(name, _switch, True))


def parse_routes(text: str) -> tuple[str, ...]:
    """A comma-separated order of routes. Raises ValueError naming the one that is unknown."""
    routes = tuple(part.strip() for part in text.split(",") if part.strip())
    for route in routes:
        if route not in ROUTES:
            raise ValueError(f"{route!r} is not a route; choose from {', '.join(ROUTES)}")
    if not routes or len(set(routes)) < len(routes):
        raise ValueError("names a route twice, or none")
    return routes


def _text(text: str) -> str:
    return text


def _base(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is not an address; write e.g. {DISCORD_API}")
    return text.rstrip("/")


def _snowflake(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ValueError(
            f"{text!r} is not a Discord id (digits only); copy it with developer mode on"
        )
    return text


def _header_value(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise ValueError("holds characters that no token has; copy it again")
    return text


def _switch(text: str) -> bool:
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _weekly_mode(text: str) -> Literal["post", "edit"]:
    if text in ("post", "edit"):
        return "edit" if text == "edit" else "post"
    raise ValueError(f"{text!r} is neither post nor edit")


def _confirm(text: str) -> Literal["off", "reactions"]:
    if text in ("off", "reactions"):
        return "reactions" if text == "reactions" else "off"
    if text in ("links", "buttons"):
        raise ValueError(f"{text} need the web process, which is still to come; write reactions")
    raise ValueError(f"{text!r} is not a way to confirm; write reactions or off")


def _date_order(text: str) -> DateOrder:
    if text in ("dmy", "mdy"):
        return "dmy" if text == "dmy" else "mdy"
    raise ValueError(f"{text!r} is neither dmy nor mdy")


def _positive(text: str) -> timedelta:
    duration = parse_duration(text)
    if not duration:
        raise ValueError("must be longer than nothing")
    return duration


def _before_start(text: str) -> timedelta:
    before = parse_duration(text)
    if not LEAST_BEFORE <= before <= MOST_BEFORE:
        raise ValueError("must be from 1m to 24h")
    return before


def _at_least(least: timedelta) -> Callable[[str], timedelta]:
    def parse(text: str) -> timedelta:
        duration = parse_duration(text)
        if duration < least:
            raise ValueError(f"must be at least {format_duration(least)}")
        return duration

    return parse


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 366:
        raise ValueError(f"{text!r} is not a number from 1 to 366")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1_000_000:
        raise ValueError(f"{text!r} is not a rate; write requests a second, e.g. 45")
    return rate


def _folder(text: str) -> Path:
    folder = Path(text)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {text!r}; `speakerbot templates eject` makes one")
    return folder
