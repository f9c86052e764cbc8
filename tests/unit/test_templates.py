"""Texts: strict, overridable by file, short enough for Discord."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speakerbot.bootstrap import templates as templates_of
from speakerbot.channels.discord.access import CAPABILITIES, LIMIT
from speakerbot.domain.message import Message, ReaderTime, Route
from speakerbot.errors import ConfigError, NotFound, TemplateError
from speakerbot.templates import Templates, names
from speakerbot.templates.overrides import eject, problems, warnings
from speakerbot.templates.values import samples
from speakerbot.text import length, mentions_all

NAME = "reminder.day_of"
VALUES: dict[str, Any] = {
    "username": "kaz", "topic": "Agents", "date": "2026-11-21", "days": 0, "weekday": "Saturday",
    "starts_at": "", "discord_time": "", "discord_relative": "", "room": "", "link": "",
}  # fmt: skip
START = datetime(2026, 11, 21, 18, 30, tzinfo=UTC)
AT_HALF_PAST_SEVEN = {
    **VALUES,
    "starts_at": "19:30",
    "discord_time": ReaderTime(START, "F", "Saturday 2026-11-21, 19:30 (Europe/Berlin)"),
    "discord_relative": ReaderTime(START, "R", ""),
    "room": "Hall *2*",
    "link": "https://talks.example/a_b_c",
}
KNOWN = (
    "there are asks, date, days, discord_relative, discord_time, length, link, room, speakers, "
    "starts_at, topic, username, weekday"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def override(folder: Path, text: str | bytes, name: str = NAME) -> Templates:
    file = folder / f"{name}.md"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return templates_of(folder)


def check(templates: Templates) -> None:
    """Raises ConfigError naming every problem of the overrides."""
    if found := problems(templates, templates.overridden()):
        raise ConfigError(*found)


def refusal(templates: Templates, values: dict[str, Any] | None = None) -> str:
    with pytest.raises(TemplateError) as caught:
        templates.render(NAME, values or VALUES)
    assert caught.value.template == NAME
    return str(caught.value)


def test_our_wording_is_the_node_bots() -> None:
    assert templates_of().render("reminder.day_before", VALUES) == (
        "Hi kaz! This is a reminder that you're scheduled to speak tomorrow (2026-11-21) "
        'about "Agents". Looking forward to your talk!'
    )
    assert templates_of().render(NAME, VALUES) == (
        "Hi kaz! This is a reminder that you're speaking today (2026-11-21) "
        'about "Agents". See you soon!'
    )


def test_a_talk_with_a_start_says_when_and_where_it_is() -> None:
    """Our own time stamps reach Discord as they are; user text stays escaped, links stay links."""
    about = 'about "Agents". Your time: <t:1795285800:F> (<t:1795285800:R>). '
    place = r"Place: Hall \*2\*. Link: https://talks.example/a_b_c "
    assert templates_of().render("reminder.day_before", AT_HALF_PAST_SEVEN) == (
        "Hi kaz! This is a reminder that you're scheduled to speak tomorrow "
        f"(Saturday 2026-11-21, 19:30) {about}{place}Looking forward to your talk!"
    )
    assert templates_of().render(NAME, AT_HALF_PAST_SEVEN) == (
        "Hi kaz! This is a reminder that you're speaking today "
        f"(Saturday 2026-11-21, 19:30) {about}{place}See you soon!"
    )


def test_a_channel_without_time_stamps_shows_the_communitys_time() -> None:
    values = {**AT_HALF_PAST_SEVEN, "room": "", "link": ""}
    assert templates_of().render(NAME, values, channel="inbox") == (
        "Hi kaz! This is a reminder that you're speaking today (Saturday 2026-11-21, 19:30) "
        'about "Agents". Your time: Saturday 2026-11-21, 19:30 (Europe/Berlin). See you soon!'
    )


def test_nobody_writes_a_time_stamp_into_a_topic() -> None:
    text = templates_of().render(NAME, {**VALUES, "topic": "<t:0:R>", "username": "<t:1:F>"})
    assert r"\<t:0:R>" in text
    assert r"\<t:1:F>" in text


def test_a_file_of_the_same_name_overrides_ours(folder: Path) -> None:
    templates = override(folder, "Today: {{ topic }}\r\n")
    assert templates.render(NAME, VALUES) == "Today: Agents"
    assert templates.overridden() == [NAME]
    assert "tomorrow" in templates.render("reminder.day_before", VALUES)


def test_a_run_sends_one_version_of_a_text_even_if_its_file_changes(folder: Path) -> None:
    templates = override(folder, "first")
    assert templates.render(NAME, VALUES) == "first"
    override(folder, "second")
    assert templates.render(NAME, VALUES) == "first"


@pytest.mark.parametrize("name", names())
def test_each_of_our_texts_has_examples_that_name_all_it_uses(name: str) -> None:
    """They are what the text is given: an override may use nothing else."""
    assert name in samples(), "add an example to speakerbot/templates/samples.json"
    for values in samples()[name]:
        assert templates_of().render(name, values)


def test_an_unknown_text_is_named_with_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"'reminder\.dayof'; there are .*reminder\.day_of"):
        templates_of().path("reminder.dayof")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a\n\n{{ topics }}",
            (f"line 3: 'topics' is unknown; did you mean 'topic'?; {KNOWN}"),
        ),
        ("a\n{{ topic", "line 2: unexpected end of template"),
        ("a\n{% endfor %}", "line 2: Encountered unknown tag 'endfor'"),
        ("a\n{{ 1 / 0 }}", "line 2: division by zero"),
        ("a\n{{ topic + 1 }}", "line 2: + needs numbers: join texts with ~"),
        ("a\n{{ topic|uper }}", "line 2: filter 'uper' is unknown; did you mean 'upper'?"),
        ("a\n{% if topic is defind %}{% endif %}", "line 2: test 'defind' is unknown; did you"),
        ("a\n{% include 'other' %}", "line 2: only if, for and set are possible"),
        (" \n{{ '' }}", "line 1: is empty"),
        (b"a\nb \xff", "line 2: is not UTF-8"),
        ("x" * 20_000, "line 1: the file is larger than 16 kB"),
        ("x" * 2_001, "line 1: its own words are 1 characters too long"),
    ],
)
def test_whatever_is_wrong_is_named_with_file_and_line(
    folder: Path, text: str | bytes, said: str
) -> None:
    templates = override(folder, text)
    assert refusal(templates).startswith(f"template {folder / NAME}.md, {said}")


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / f"{NAME}.md").write_text("text")
    templates = templates_of(folder)
    file = templates.file(NAME)
    (folder / f"{NAME}.md").unlink()
    with pytest.raises(TemplateError, match=r"reminder\.day_of\.md, line 1: cannot be read"):
        file.compile()


def test_values_that_one_message_lacks_are_an_error_of_that_message_only(folder: Path) -> None:
    templates = override(folder, "Hi!\n{{ username }}")
    assert templates.render(NAME, VALUES) == "Hi!\nkaz"
    assert "line 2: 'username' is undefined" in refusal(templates, {"topic": "x"})
    assert templates.render(NAME, VALUES) == "Hi!\nkaz"


def test_values_are_escaped_at_any_depth(folder: Path) -> None:
    templates = override(folder, "{% for t in talks %}{{ t.topic[0] }}{% endfor %}", "weekly")
    talks = [{"topic": ("*bold* <@1>",)}]
    assert templates.render("weekly", {"talks": talks}) == r"\*bold\* \<@1>"


def test_values_cannot_join_to_a_mass_mention(folder: Path) -> None:
    templates = override(folder, "@{{ username }} {{ topic }}here")
    text = templates.render(NAME, {"username": "everyone", "topic": "@"})
    assert not mentions_all(text)
    assert text == "@\u200beveryone @\u200bhere"


def test_the_longest_value_is_shortened_to_what_a_message_holds() -> None:
    text = templates_of().render(NAME, {**VALUES, "topic": "x" * 5000}, reserve=23)
    assert length(text) == LIMIT - 23
    assert text.endswith('x…". See you soon!')


def test_a_long_value_is_not_shortened_in_the_middle_of_an_emoji() -> None:
    topic = "<:party:123456789012345678>" * 400
    text = templates_of().render(NAME, {**VALUES, "topic": topic})
    assert length(text) <= LIMIT
    assert ":party::party:" in text
    assert "<" not in text
    assert "\\" not in text


def test_several_long_values_share_the_room(folder: Path) -> None:
    templates = override(folder, "{% for t in talks %}{{ t.topic }}\n{% endfor %}", "weekly")
    text = templates.render("weekly", {"talks": [{"topic": "ab " * 400} for _ in range(5)]})
    lines = text.split("\n")
    assert length(text) <= LIMIT
    assert len(lines) == 5
    assert all(len(line) > 200 and line.endswith("…") for line in lines)


@settings(deadline=None)
@given(st.lists(st.text(), max_size=4), st.integers(0, 100))
def test_any_values_make_a_message_that_fits_and_pings_nobody(
    texts: list[str], reserve: int
) -> None:
    values = {**VALUES, "username": "".join(texts[:1]), "topic": "".join(texts) * 50}
    text = templates_of().render(NAME, values, reserve=reserve)
    assert length(text) <= LIMIT - reserve
    assert not mentions_all(text)


def test_a_message_leaves_room_for_the_mention_of_any_of_its_routes() -> None:
    routes = (Route("dm", "1"), Route("thread", "2", mention="802345678901234561"))
    text = templates_of().of(_message(routes, "x" * 3000))
    assert [length(CAPABILITIES.addressed(text, route.mention)) <= LIMIT for route in routes] == [
        True,
        True,
    ]


def _message(routes: tuple[Route, ...], topic: str) -> Message:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    return Message(
        kind=NAME, subject="talk:1", recipient="user:1", occasion="x", routes=routes,
        template=NAME, values={**VALUES, "topic": topic}, due_at=at, expires_at=at, reason="",
    )  # fmt: skip


class TestChecking:
    def test_our_own_texts_are_fine(self) -> None:
        templates = templates_of()
        assert problems(templates, names()) == []
        assert warnings(templates) == []
        check(templates)

    def test_every_problem_of_every_file_is_named_at_once(self, folder: Path) -> None:
        override(folder, "{{ topic }}\n{{ user }} {{ nope }}", "reminder.days")
        templates = override(folder, "a\n{{ topic")
        with pytest.raises(ConfigError) as caught:
            check(templates)
        assert [problem.split("/")[-1] for problem in caught.value.problems] == [
            (
                "reminder.day_of.md, line 2: unexpected end of template, expected "
                "'end of print statement'."
            ),
            ("reminder.days.md, line 2: 'user' is unknown; did you mean 'username'?; " + KNOWN),
            f"reminder.days.md, line 2: 'nope' is unknown; {KNOWN}",
        ]

    def test_a_branch_that_no_example_reaches_is_looked_at(self, folder: Path) -> None:
        templates = override(folder, "a{% if days > 100 %}\n{{ nope }}{% endif %}")
        with pytest.raises(ConfigError, match="line 2: 'nope' is unknown"):
            check(templates)

    def test_names_a_text_makes_itself_are_known(self, folder: Path) -> None:
        check(override(folder, "{% set n = days + 1 %}{% set m = n * 2 %}{{ m }}"))
        check(override(folder, "{% for t in talks %}{{ t.topic }}{% endfor %}", "weekly"))

    def test_files_without_effect_are_pointed_out(self, folder: Path) -> None:
        override(folder, "text", "reminder.dayof")
        (folder / ".DS_Store").write_text("")
        [warning] = warnings(templates_of(folder))
        assert warning == (
            f"{folder}/reminder.dayof.md has no effect: there is no text of that name; "
            "did you mean 'reminder.day_of.md'?"
        )

    def test_a_mention_of_everyone_is_pointed_out(self, folder: Path) -> None:
        [warning] = warnings(override(folder, "@everyone: {{ topic }}"))
        assert "nobody is notified" in warning


class TestEjecting:
    def test_writes_every_text_and_makes_the_folder(self, folder: Path) -> None:
        done = eject(folder / "a" / "b")
        assert [path.stem for path in done.written] == names()
        assert done.left == ()
        templates = templates_of(folder / "a" / "b")
        assert templates.overridden() == names()
        check(templates)

    def test_never_overwrites(self, folder: Path) -> None:
        override(folder, "mine")
        done = eject(folder)
        assert [path.stem for path in done.left] == [NAME]
        assert (folder / f"{NAME}.md").read_text() == "mine"
        assert eject(folder).written == ()

    def test_a_dry_run_writes_nothing(self, folder: Path) -> None:
        override(folder, "mine")
        done = eject(folder, dry_run=True)
        assert len(done.written) == len(names()) - 1
        assert len(list(folder.iterdir())) == 1
        assert eject(folder / "new", dry_run=True).left == ()
        assert not (folder / "new").exists()

    def test_a_file_in_the_folders_place_is_named(self, folder: Path) -> None:
        (folder / "file").write_text("")
        with pytest.raises(ConfigError, match="file: cannot be written"):
            eject(folder / "file")
