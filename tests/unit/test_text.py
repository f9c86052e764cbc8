"""What people typed, shown by Discord as they typed it."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from speakerbot.channels.discord.access import escape
from speakerbot.text import (
    length,
    mentions_all,
    name_custom_emoji,
    one_line,
    shorten,
)

ANY = st.text(st.characters())  # surrogates and controls included
NASTY = st.text("\\*_~|`[]()<>@#&:-.1 a\né\u05d0\u202e\u200beveryonehere/", max_size=40)
LINK = re.compile(r"""https?://[^\s<]+[^<.,:;"'\]\s]""")


def shown(markdown: str) -> str:
    """What Discord shows of an escaped text: a backslash shows the punctuation after it, and
    addresses are shown as they are."""
    bare = markdown.strip("\u2068\u2069").replace("@\u200b", "@")
    pieces, end = [], 0
    for link in LINK.finditer(bare):
        pieces += [re.sub(r"\\([^0-9A-Za-z\s])", r"\1", bare[end : link.start()]), link.group()]
        end = link.end()
    return "".join([*pieces, re.sub(r"\\([^0-9A-Za-z\s])", r"\1", bare[end:])])


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("plain words, 100 %", "plain words, 100 %"),
        ("*bold* and **more**", r"\*bold\* and \*\*more\*\*"),
        ("_so_ __so__ snake_case", r"\_so\_ \_\_so\_\_ snake_case"),
        ("a_b_ c", r"a_b\_ c"),
        ("a_b_é", r"a_b\_é"),
        ("ünïcödé_name", "ünïcödé_name"),
        ("~~gone~~ ~5", r"\~\~gone\~\~ ~5"),
        ("||secret|| a|b", r"\|\|secret\|\| a|b"),
        ("the `rm -rf`", r"the \`rm -rf\`"),
        ("```\ncode\n```", r"\`\`\` code \`\`\`"),
        ("# heading", r"\# heading"),
        ("-# small", r"\-# small"),
        ("- item", r"\- item"),
        ("> quote", r"\> quote"),
        ("1. item", r"1\. item"),
        ("1.5 reasons", "1.5 reasons"),
        ("[text](https://a.example)", r"\[text](https://a.example)"),
        ("<@80> <@&81> <#82> <t:84:R>", r"\<@80> \<@&81> \<#82> \<t:84:R>"),
        (r"C:\dir \*", r"C:\\dir \\\*"),
        ("see https://a.example/x_y_z*?q=a~~b. Yes", "see https://a.example/x_y_z*?q=a~~b. Yes"),
        ("https://a.example/<@80>", r"https://a.example/\<@80>"),
        ('"https://a.example"', '"https://a.example"'),
        ("two\nlines\r\n\tand\u2028more", "two lines and more"),
        ("nul\0 and \x1b[31mred", r"nul and \[31mred"),
        ("", ""),
    ],
)
def test_markdown_is_shown_not_obeyed(typed: str, sent: str) -> None:
    assert escape(typed) == sent


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("hi <:party:123456789012345678>", "hi :party:"),
        ("<a:wave:123>!", ":wave:!"),
        ("<:a_b:123456789012345678><:a_b:123456789012345678>", ":a_b::a_b:"),
        ("*<:party:123>*", r"\*:party:\*"),
        (r"\<:party:123>", r"\\:party:"),
        ("<:par\0ty:123>", ":party:"),
        ("<<:party:123>456>", ":party:"),
        ("https://a.example/x<:party:123>", "https://a.example/x :party:"),
        ("<:pärty:123> <:party:abc> <b:party:123>", r"\<:pärty:123> \<:party:abc> \<b:party:123>"),
    ],
)
def test_a_custom_emoji_is_written_as_its_name(typed: str, sent: str) -> None:
    """As Discord itself stores one that the bot cannot use: else recovery would not find it."""
    assert escape(typed) == sent


EMOJI = st.lists(
    st.sampled_from(["<", "<:", "<a:", ":", "_", "*", "p", "party", "123>", "https://a.b"])
)


@given(EMOJI.map("".join))
@example("<<:party:123>456>")
@example("<:_party_:123>")
def test_no_custom_emoji_is_left_as_markup(typed: str) -> None:
    assert not re.search(r"<a?:\w+:\d+>", escape(typed).replace("\\", ""))


def test_an_emoji_is_not_cut_in_two() -> None:
    assert shorten("<:party:123456789012345678> at noon", 10) == ":party: a…"
    assert shorten("<:party:123456789012345678>", 7) == ":party:"
    assert shorten("<:party:123456789012345678>", 27) == "<:party:123456789012345678>"


@pytest.mark.parametrize(
    "typed",
    ["@everyone", "@here now", "hi@everyones", "@\0everyone", "@\u200eeveryone", "@\u202ahere"],
)
def test_a_mass_mention_is_mere_words(typed: str) -> None:
    assert mentions_all(escape(typed)) is False
    assert "@\u200b" in escape(typed)


def test_a_mass_mention_in_an_address_still_leads_there() -> None:
    assert escape("https://a.example/@everyone") == "https://a.example/%40everyone"


def test_right_to_left_text_cannot_turn_the_sentence_around_it() -> None:
    assert escape("שלום") == "\u2068שלום\u2069"
    assert escape("مرحبا *x*") == "\u2068مرحبا \\*x\\*\u2069"
    assert escape("\u202eabc\u2066") == "abc"


def test_half_a_character_becomes_one_that_can_be_sent() -> None:
    assert escape("a\ud83d b") == "a\ufffd b"
    escape("\udfff").encode()


@given(ANY | NASTY)
@example("@@everyone")
@example("https://@everyone.@here")
def test_escaped_text_never_mentions_all_and_can_be_sent(typed: str) -> None:
    escaped = escape(typed)
    assert not mentions_all(escaped)
    assert "\n" not in escaped
    escaped.encode("utf-8")


@given(ANY | NASTY)
@example("https://a.example https://a.example/_x_")
@example("https://a*b*c`")
def test_escaped_text_shows_its_own_characters(typed: str) -> None:
    assume("@" not in "".join(LINK.findall(typed)))
    assume("@\u200b" not in typed)
    assert shown(escape(typed)) == name_custom_emoji(one_line(typed))


@given(NASTY)
def test_no_character_that_means_something_is_left_bare(typed: str) -> None:
    """Without what is escaped, nothing is left that opens or closes anything."""
    bare = re.sub(r"\\.", "x", escape(typed).strip("\u2068\u2069"))
    assert not re.search(r"[*`\[<\\]|\|\||~~|__|_(?![A-Za-z0-9])|^[>#-]", bare)


@given(st.text(alphabet="abc/_*~?=&%", min_size=2))
def test_addresses_are_left_alone(path: str) -> None:
    assert escape(f"see https://a.example/{path} now") == f"see https://a.example/{path} now"


@given(ANY, st.integers(1, 60))
@example("\ud800 ab", 4)
@example("\ud800\udc00ab", 2)
def test_shortened_text_fits_and_begins_as_the_whole_does(text: str, most: int) -> None:
    short = shorten(text, most)
    assert length(short) <= most
    named = name_custom_emoji(text)
    assert short in (text, named) or (short.endswith("…") and named.startswith(short[:-1]))


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("four", 4, "four"),
        ("fives", 4, "fiv…"),
        ("two words", 5, "two…"),
        ("🎌🎌🎌", 4, "🎌…"),
        ("ab", 1, "…"),
        ("👩\u200d🚀!", 4, "👩…"),
    ],
)
def test_text_is_cut_between_whole_characters(text: str, most: int, short: str) -> None:
    assert shorten(text, most) == short


def test_length_is_counted_in_utf_16() -> None:
    assert [length(text) for text in ("", "é", "🎌", "\ud83d")] == [0, 1, 2, 1]
