"""What is declared of each job, without importing it: its name, help, options and opt-out kind.

The command line, ``schedules.json``, preview, explain and the web triggers read a job's options
with the code here, so they cannot disagree about what ``--limit 1`` means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple, NoReturn

from speakerbot.durations import parse_duration
from speakerbot.errors import UsageError
from speakerbot.text import did_you_mean

LONGEST_HORIZON = timedelta(days=7)
PostsTo = Literal["announcements", "organisers", "server"]


class RunOptions(NamedTuple):
    """What a person or a schedule asks of one run of a job."""

    dry_run: bool = False
    limit: int | None = None
    """At most so many messages."""
    only: str | None = None
    """A Discord user id or a person's id: all other recipients are left out."""
    as_json: bool = False
    horizon: timedelta | None = None
    """Stay for what falls due within so long, and send it to the second."""
    edit_only: bool = False
    """``weekly``: keep what was posted true, post nothing new."""

    @property
    def narrowed(self) -> bool:
        """Some of what is due may be left out."""
        return self.only is not None or self.limit is not None


class JobOption(NamedTuple):
    """One option of a job. ``field`` is the attribute of :class:`RunOptions` that it sets."""

    name: str
    field: str
    help: str
    read: Callable[[str], Any] | None = None
    """From text to value; raises ValueError with a message for people. None: a switch."""
    metavar: str = ""


def _amount(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a number of messages; write e.g. 10")
    return int(text)


def _length(text: str) -> timedelta:
    length = parse_duration(text)
    if length > LONGEST_HORIZON:
        raise ValueError(f"{text!r} is longer than a run may stay; write e.g. 75m, at most 7d")
    return length


DRY_RUN = JobOption("--dry-run", "dry_run", "Show what would happen; change nothing.")
LIMIT = JobOption("--limit", "limit", "Send at most N messages.", _amount, "N")
ONLY = JobOption("--only", "only", "Only this person: a Discord user id, or ours.", str, "USER")
HORIZON = JobOption(
    "--horizon", "horizon", "Stay for what falls due within so long, as 75m.", _length, "D"
)
AS_JSON = JobOption("--json", "as_json", "One JSON document on stdout.")
EVERY_JOB = (DRY_RUN, LIMIT, ONLY, HORIZON, AS_JSON)
"""The options that each job takes."""


class JobDeclaration(NamedTuple):
    """One job. ``module`` holds it, as ``JOB``, and is imported when it runs."""

    name: str
    module: str
    help: str
    opt_out: str | None = None
    """The kind of message people can opt out of; None where it writes to a channel."""
    own_options: tuple[JobOption, ...] = ()
    posts_to: PostsTo | None = None
    """The channel, or the server, of the settings without which it has nothing to do."""
    asks_speakers: bool = False
    """It asks them whether they will be there, where the settings say so."""
    keeps_clear_of_node_bot: bool = False
    """The Node bot sends the same messages: none goes in the minute of its own job."""
    timed: bool = False
    """Its messages go to the minute, so it has no occurrences: ``--schedule`` and ``--cron`` only
    name its runs, each of which looks. Any number of them stay side by side, and share the work by
    their claims."""
    short_windows: Callable[[Mapping[str, str], timedelta], Iterator[str]] = lambda *_: iter(())
    """Which messages of these settings may have no tick in their time, where ticks are so far
    apart; in words for people."""

    @property
    def options(self) -> tuple[JobOption, ...]:
        return (*EVERY_JOB, *self.own_options)

    def read_args(self, args: Sequence[str]) -> RunOptions:
        """The options as a schedule's ``args`` give them. Raises ValueError naming the first that
        this job does not have or that makes no sense."""
        parser = _parser(self.name)
        for option in self.options:
            value = {"action": "store_true"} if option.read is None else {"type": str}
            parser.add_argument(option.name, dest=option.field, default=None, **value)
        known, unknown = parser.parse_known_args(list(args))
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is not an option of {self.name}{self._meant(unknown[0])}"
            )
        given = {name: value for name, value in vars(known).items() if value is not None}
        return self.read_texts(given)

    def read_texts(self, given: dict[str, Any]) -> RunOptions:
        """The options from texts by field; of a switch, a truth value. Raises ValueError."""
        values: dict[str, Any] = {}
        for option in self.options:
            if option.field in given:
                text = given[option.field]
                try:
                    values[option.field] = option.read(text) if option.read else bool(text)
                except ValueError as problem:
                    raise ValueError(f"{option.name}: {problem}") from problem
        return RunOptions(**values)

    def _meant(self, word: str) -> str:
        names = [option.name for option in self.options]
        return did_you_mean(word.partition("=")[0], names) or f"; it has {', '.join(names)}"


class JobRegistry:
    """The jobs there are, in the order in which they are listed to people."""

    def __init__(self, *declarations: JobDeclaration) -> None:
        self._by_name = {each.name: each for each in declarations}

    def __iter__(self) -> Iterator[JobDeclaration]:
        return iter(self._by_name.values())

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def __getitem__(self, name: str) -> JobDeclaration:
        """Raises UsageError naming the jobs there are."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UsageError(self.unknown(name)) from None

    def unknown(self, name: str) -> str:
        """Why there is no job of that name, in words for people."""
        hint = did_you_mean(name, self.names) or f"; there are {', '.join(self.names)}"
        return f"{name!r} is not a job{hint}"


def _parser(job: str) -> Any:
    from argparse import ArgumentParser  # not on the way of a run that has its options already

    class Parser(ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ValueError(message)

    return Parser(job, add_help=False, allow_abbrev=False)
