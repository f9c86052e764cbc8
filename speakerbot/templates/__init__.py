"""Every text that is sent: a default beside this file, overridden by a file of the same name in
the folder ``SPEAKERBOT_TEMPLATES`` names.

Strict (an unknown name is an error), limited to what a text needs (:mod:`.language`), and bounded
in time and size. Values are user text and are escaped for the channel before they reach the text.
The template engine is imported when the first text is needed: most runs need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerbot.domain.message import Message, Route
from speakerbot.errors import NotFound
from speakerbot.templates.values import SECONDS, Deadline, cut_longest, given, prepared
from speakerbot.text import without_mass_mentions

if TYPE_CHECKING:
    from speakerbot.ports.channel import Capabilities
    from speakerbot.templates.language import TextFile

BUILT_IN = Path(__file__).parent
SUFFIX = ".md"


ASKS = "asks"
"""The value that says whether a text asks for a reaction: only where the job wants it to, and
people can react."""
USUAL = "discord"
"""The channel that a text is rendered for where none is named."""


def names() -> list[str]:
    """Of all texts there are."""
    return sorted(path.name.removesuffix(SUFFIX) for path in BUILT_IN.glob(f"*{SUFFIX}"))


class Templates:
    """Renders texts by name, for one of ``channels``. Files are read once: a run sends one version
    of each. ``seconds``: how long making one text may take."""

    def __init__(
        self,
        channels: Mapping[str, Capabilities],
        overrides: Path | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self.channels = channels
        self.overrides = overrides
        self.seconds = seconds
        self._files: dict[str, TextFile] = {}

    def path(self, name: str) -> Path:
        """The file in effect. Raises NotFound if there is no such text."""
        if self.overrides and (override := self.overrides / (name + SUFFIX)).is_file():
            return override
        if name not in names():
            raise NotFound(f"there is no text {name!r}; there are {', '.join(names())}")
        return BUILT_IN / (name + SUFFIX)

    def overridden(self) -> list[str]:
        if self.overrides is None:
            return []
        return [name for name in names() if (self.overrides / (name + SUFFIX)).is_file()]

    def variables(self, name: str) -> list[str]:
        """What the text may use."""
        return sorted(given(name).names)

    def of(self, message: Message, channel: str | None = None) -> str:
        """The message's text for a channel, None for its first route's; short enough for any
        mention that its routes there put in front."""
        channel = channel or (message.routes[0].channel if message.routes else USUAL)
        rules = self.channels[channel]
        mentions = (
            rules.length(rules.addressed("", route.mention))
            for route in message.routes
            if route.channel == channel
        )
        reserve = max(mentions, default=0)
        return self.render(message.template, message.values, channel=channel, reserve=reserve)

    def addressed(self, message: Message, route: Route) -> str:
        """The message's text as this route carries it. Raises TemplateError."""
        rules = self.channels[route.channel]
        return rules.addressed(self.of(message, route.channel), route.mention)

    def render(
        self, name: str, values: Mapping[str, Any], *, channel: str = USUAL, reserve: int = 0
    ) -> str:
        """The text; the longest of its values are shortened until it fits into one message and
        leaves ``reserve`` characters of it free.

        Raises TemplateError, which concerns messages of this text only.
        """
        rules = self.channels[channel]
        file, room = self.file(name), rules.max_length - reserve
        values = {**values, ASKS: bool(values.get(ASKS)) and rules.reactions}
        file.compile()  # before the time begins to count
        deadline = Deadline(self.seconds)
        while True:
            given = prepared(values, rules, deadline)
            text = without_mass_mentions(file.render(given, deadline))
            over = rules.length(text) - room
            if over <= 0:
                return text
            shorter = cut_longest(values, over, rules)
            if shorter is None:
                raise file.too_long(over)
            values = shorter

    def file(self, name: str) -> TextFile:
        """The file in effect, as it was when it was first asked for."""
        from speakerbot.templates.language import TextFile

        if name not in self._files:
            self._files[name] = TextFile(name, self.path(name), given(name))
        return self._files[name]
