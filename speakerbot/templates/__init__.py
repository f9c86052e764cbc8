"""Every text that is sent: a default beside this file, overridden by a file of the same name in
the folder ``SPEAKERBOT_TEMPLATES`` names.

Strict (an unknown name is an error), limited to what a text needs (:mod:`.language`), and bounded
in time and size. Values are user text and are escaped for Discord before they reach the template.
The template engine is imported when the first text is needed: most runs need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerbot.domain.message import Message
from speakerbot.errors import NotFound
from speakerbot.templates.values import Deadline, cut_longest, given, prepared
from speakerbot.text import LIMIT, length, without_mass_mentions

if TYPE_CHECKING:
    from speakerbot.templates.language import TextFile

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
        """What the text may use."""
        return sorted(given(name).names)

    def of(self, message: Message) -> str:
        """The message's text, short enough for any of its routes' mentions in front of it."""
        mentions = (length(route.full_text("")) for route in message.routes)
        return self.render(message.template, message.values, reserve=max(mentions, default=0))

    def render(self, name: str, values: Mapping[str, Any], *, reserve: int = 0) -> str:
        """The text; the longest of its values are shortened until it fits into one message and
        leaves ``reserve`` characters of it free.

        Raises TemplateError, which concerns messages of this text only.
        """
        file, room = self.file(name), LIMIT - reserve
        file.compile()  # before the time begins to count
        deadline = Deadline()
        while True:
            text = without_mass_mentions(file.render(prepared(values, deadline), deadline))
            over = length(text) - room
            if over <= 0:
                return text
            shorter = cut_longest(values, over)
            if shorter is None:
                raise file.too_long(over)
            values = shorter

    def file(self, name: str) -> TextFile:
        """The file in effect, as it was when it was first asked for."""
        from speakerbot.templates.language import TextFile

        if name not in self._files:
            self._files[name] = TextFile(name, self.path(name), given(name))
        return self._files[name]
