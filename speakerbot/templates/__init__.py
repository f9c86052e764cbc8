"""Every text that is sent: a default beside this file, overridden by a file of the same name in
the folder ``SPEAKERBOT_TEMPLATES`` names.

Strict (an unknown variable is an error), sandboxed, and bounded in time and size. Values are user
text and are escaped for Discord before they reach the template. The template engine is imported
when the first text is needed: most runs need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerbot.domain.message import Message
from speakerbot.errors import ConfigError, NotFound
from speakerbot.templates.values import cut_longest, escaped
from speakerbot.text import LIMIT, length, without_mass_mentions

if TYPE_CHECKING:
    from speakerbot.templates.files import TextFile

BUILT_IN = Path(__file__).parent
SUFFIX = ".md"


class Templates:
    """Renders texts by name. Files are read once: a run sends one version of each."""

    def __init__(self, overrides: Path | None = None) -> None:
        self.overrides = overrides
        self._files: dict[str, TextFile] = {}

    def names(self) -> list[str]:
        return sorted(path.name.removesuffix(SUFFIX) for path in BUILT_IN.glob(f"*{SUFFIX}"))

    def path(self, name: str) -> Path:
        """The file in effect. Raises NotFound if there is no such text."""
        if self.overrides and (override := self.overrides / (name + SUFFIX)).is_file():
            return override
        if name not in self.names():
            raise NotFound(f"there is no text {name!r}; there are {', '.join(self.names())}")
        return BUILT_IN / (name + SUFFIX)

    def overridden(self) -> list[str]:
        if self.overrides is None:
            return []
        return [name for name in self.names() if (self.overrides / (name + SUFFIX)).is_file()]

    def variables(self, name: str) -> list[str]:
        """What the text may use: what its examples hold, and what our own wording uses."""
        from speakerbot.templates.files import TextFile, samples

        examples = [key for values in samples().get(name, ()) for key in values]
        return sorted({*examples, *TextFile(BUILT_IN / (name + SUFFIX)).variables()})

    def check(self) -> None:
        """Asked before a run sends anything. Raises ConfigError naming file and line of every
        problem of the overrides; costs nothing where there are none."""
        if names := self.overridden():
            from speakerbot.templates.checking import problems

            if found := problems(self, names):
                raise ConfigError(*found)

    def of(self, message: Message) -> str:
        """The message's text, short enough for any of its routes' mentions in front of it."""
        mentions = (length(route.full_text("")) for route in message.routes)
        return self.render(message.template, message.values, reserve=max(mentions, default=0))

    def render(self, name: str, values: Mapping[str, Any], *, reserve: int = 0) -> str:
        """The text; the longest of its values are shortened until it fits into one message and
        leaves ``reserve`` characters of it free.

        Raises ConfigError naming the template's file and line.
        """
        file, room = self.file(name), LIMIT - reserve
        allowance = file.allowance()
        while True:
            text = without_mass_mentions(file.render(escaped(values), allowance))
            over = length(text) - room
            if over <= 0:
                return text
            shorter = cut_longest(values, over)
            if shorter is None:
                raise ConfigError(
                    f"template {file.path}, line 1: its own words are {over} characters too long "
                    "for a message"
                )
            values = shorter

    def file(self, name: str) -> TextFile:
        """The file in effect, as it was when it was first asked for."""
        from speakerbot.templates.files import TextFile

        if name not in self._files:
            self._files[name] = TextFile(self.path(name))
        return self._files[name]
