"""A template that asks for too much, or for what is not its own, is refused or stopped, by name."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speakerbot.bootstrap import templates as templates_of
from speakerbot.errors import TemplateError
from speakerbot.templates import Templates
from speakerbot.templates.overrides import problems

NAME = "weekly"
TALK = {"number": 1, "date": "2026-11-20", "username": "ada", "topic": "Agents"}
VALUES = {"part": 1, "talks": [TALK, {**TALK, "number": 2, "username": "kaz"}]}
MANY = {"part": 1, "talks": [TALK] * 8_000}
LONG = {"part": 1, "talks": [{**TALK, "topic": "x" * 1500}] * 30}
LONGEST = 4.0
"""Seconds of computing; nothing here takes more than 1.5."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def templates(folder: Path, text: str) -> Templates:
    (folder / f"{NAME}.md").write_text(text)
    return templates_of(folder)


def render(
    folder: Path, text: str, values: dict[str, Any] = VALUES, seconds: float | None = None
) -> str:
    """As a run does it: in a worker thread, where no signal arrives."""
    made = templates(folder, text)
    if seconds is not None:
        made = Templates(made.channels, made.overrides, seconds)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(made.render, NAME, values).result()


def reason(folder: Path, error: TemplateError) -> str:
    named = f"template {folder / NAME}.md, line 2: "
    assert str(error).startswith(named)
    return str(error).removeprefix(named)


def stopped(
    folder: Path, text: str, values: dict[str, Any] = VALUES, seconds: float | None = None
) -> str:
    """Why the text after an empty line is not rendered; it must not take long."""
    started = time.process_time()
    with pytest.raises(TemplateError) as caught:
        render(folder, "\n" + text, values, seconds)
    assert time.process_time() - started < LONGEST
    return reason(folder, caught.value)


def refusal(folder: Path, text: str) -> str:
    """Why the text after an empty line is refused when it is read."""
    with pytest.raises(TemplateError) as caught:
        templates(folder, "\n" + text).file(NAME).compile()
    return reason(folder, caught.value)


TWICE = "{% for t in talks %}{% for u in talks %}"
END = "{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "text",
    [
        TWICE + "{% set x = t.topic ~ u.topic %}" + END,
        "{% for t in talks %}{% for u in talks if u.number < 0 %}" + END,
        TWICE + "{% if u.number < 0 %}never{% endif %}" + END,
        (
            "{% for t in talks %}{% if loop.previtem is defined %}"
            "{% for u in talks %}{% endfor %}{% endif %}{% endfor %}"
        ),
        "{% for t in talks %}{% set x = talks|map(attribute='topic')|length %}{% endfor %}",
    ],
)
def test_rendering_ends_when_its_time_is_over(folder: Path, text: str) -> None:
    said = stopped(folder, text, MANY, seconds=0.3)
    assert said == "rendering takes longer than 0.3 s"


def test_rendering_ends_after_a_second(folder: Path) -> None:
    assert stopped(folder, TWICE + END, MANY) == "rendering takes longer than 1 s"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ talks[0].topic }}" * 50 + TWICE + "{{ t.topic }}" + END, "text is longer than 64 kB"),
        ("{{ talks[0].topic|join(talks[0].topic) }}", "join needs a list"),
        ("{% for t in talks %}{{ 'x' ~ talks|join(attribute='topic') }}{% endfor %}", "64 kB"),
        ("{{ talks|join(', ' ~ talks[0].topic, attribute='topic') }}", "a value is longer than 64"),
        ("{{ ('x' ~ talks|join(attribute='topic'))|replace('x', 'yyyyyyyy') }}", "a value is long"),
        ("{{ talks[0].topic|replace('', talks[0].topic) }}", "a value is longer than 64 kB"),
        ("{{ 'x'" + "|replace('x', 'xxxxxxxxxx')" * 60 + " }}", "a value is longer than 64 kB"),
        ("{{ talks|join(talks[0].topic * 9) }}", "* needs numbers"),
        ("{% set a = 'aa' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}", "a value is longer than"),
        ("{% set a = 'aa' %}" + "{% set a = (a ~ a)|upper %}" * 60, "a value is longer than 64 kB"),
        ("{% set a = 99 %}" + "{% set a = a * a %}" * 60 + "{{ a }}", "a number is too large"),
        ("{% set a = 1e9 %}" + "{% set a = a * a %}" * 60 + "{{ a }}", "a number is too large"),
        ("{{ 'a' * 1000000000 }}", "* needs numbers"),
        ("{{ 1000000000 * 'a' }}", "* needs numbers"),
        ("{{ talks * 1000000000 }}", "* needs numbers"),
        ("{{ [1] * 1000000000 }}", "* needs numbers"),
        ("{{ '%1000000000d' % 1 }}", "% needs numbers: join texts with ~"),
        ("{{ '%1000000000d' is odd }}", "'odd' needs a number"),
        ("{{ '%1000000000d' is even }}", "'even' needs a number"),
        ("{{ '%1000000000d' is divisibleby(1) }}", "'divisibleby' needs a number"),
        ("{{ 'a'|truncate(-1000000000) }}", "expected length >= 3, got -1000000000"),
    ],
)
def test_nothing_large_is_begun(folder: Path, text: str, said: str) -> None:
    assert said in stopped(folder, text, LONG)


NOT_CALLED = "nothing can be called in a text"
STATEMENTS = "only if, for and set are possible in a text"
GIVEN_LISTS = "'for' goes only over a list that is given; for this text: talks"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ range(9) }}", NOT_CALLED),
        ("{{ dict(a=1) }}", NOT_CALLED),
        ("{{ lipsum() }}", NOT_CALLED),
        ("{{ part.to_bytes(1000000000, 'big') }}", NOT_CALLED),
        ("{{ 'a'.center(1000000000) }}", NOT_CALLED),
        ("{{ 'a'.upper() }}", NOT_CALLED + "; did you mean the filter '|upper'?"),
        ("{{ '{:1000000000}'.format(1) }}", NOT_CALLED),
        ("{{ talks.append(1) }}", NOT_CALLED),
        ("{{ loop() }}", NOT_CALLED),
        ("{{ 10 ** 10 }}", "** is not possible in a text"),
        ("{{ {1: 2} }}", "names, attributes, filters and operators are all that is possible"),
        ("{{ [talks, talks] }}", "a list can hold only numbers and texts in quotes"),
        ("{{ (talks, talks) }}", "a list can hold only numbers and texts in quotes"),
        ("{% if [[1]] %}{% endif %}", "a list can hold only numbers and texts in quotes"),
        ("{% macro m() %}{% endmacro %}", STATEMENTS),
        ("{% with a = 1 %}{% endwith %}", STATEMENTS),
        ("{% filter upper %}a{% endfilter %}", STATEMENTS),
        ("{% block b %}{% endblock %}", STATEMENTS),
        ("{% include 'other' %}", STATEMENTS),
        ("{% import 'os' as os %}", STATEMENTS),
        ("{% from 'os' import path %}", STATEMENTS),
        ("{% extends 'reminder.days.md' %}", STATEMENTS),
        ("{% autoescape true %}{% endautoescape %}", STATEMENTS),
        ("{% set a %}b{% endset %}", "{% set %} needs a value"),
        ("{% set a, b = 1, 2 %}", "only one name can be set at a time"),
        ("{% set loop = 1 %}", "'loop' is the loop's own name"),
        ("{% for a in talks recursive %}{% endfor %}", "'recursive' is not possible in a text"),
        (
            "{% for a in talks %}{% for b in talks %}{% for c in talks %}{% endfor %}" + END,
            "loops can be nested at most 2 deep",
        ),
        ("{% for a in [1, 2] %}{% endfor %}", GIVEN_LISTS),
        ("{% for a in 'abc' %}{% endfor %}", GIVEN_LISTS),
        ("{% for a in part %}{% endfor %}", GIVEN_LISTS),
        ("{% for a in talks[0].topic %}{% endfor %}", GIVEN_LISTS),
        ("{% for a in talks|map(attribute='topic') %}{% endfor %}", GIVEN_LISTS),
        ("{% set talks = 'abc' ~ part %}{% for a in talks %}{% endfor %}", GIVEN_LISTS),
        ("{% for talks in talks %}{% for a in talks %}" + END, GIVEN_LISTS),
    ],
)
def test_what_no_text_needs_is_refused_when_it_is_read(folder: Path, text: str, said: str) -> None:
    assert refusal(folder, text).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ part.__class__.__mro__ }}", "attribute '__mro__' is unknown"),
        ("{{ ''['__class__'] }}", "attribute '__class__' is unknown"),
        ("{{ talks['append'] }}", "attribute 'append' is unknown"),
        ("{{ talks[part ~ ''] }}", "only a number or an attribute's name can stand in [ ]"),
        ("{{ talks[part:] }}", "only numbers can stand in [ : ]"),
        ("{{ self }}", "'self' is unknown"),
        ("{{ range }}", "'range' is unknown"),
        ("{{ cycler }}", "'cycler' is unknown"),
        ("{{ namespace }}", "'namespace' is unknown"),
        ("{{ nope|default('') }}", "'nope' is unknown"),
        ("{{ loop }}", "'loop' is unknown"),
        ("{% for t in talks %}{{ loop }}{% endfor %}", "'loop' is unknown"),
        ("{% for t in talks %}{{ loop._iterable }}{% endfor %}", "attribute '_iterable' is unkno"),
        ("{% for t in talks %}{{ loop.cycle }}{% endfor %}", "attribute 'cycle' is unknown"),
        ("{% for t in talks %}{% endfor %}{{ t.topic }}", "'t' is unknown"),
        ("{% for t in talks %}{% else %}{{ t.topic }}{% endfor %}", "'t' is unknown"),
        ("{{ a }}{% set a = 1 %}", "'a' is unknown"),
        (
            "{{ talks[0].topics }}",
            "attribute 'topics' is unknown; did you mean 'topic'?; there are date, discord_",
        ),
        ("{{ ''|attr('__class__') }}", "filter 'attr' is unknown"),
        ("{{ part|random }}", "filter 'random' is unknown"),
        ("{{ part|center(1000000000) }}", "filter 'center' is unknown"),
        ("{{ talks|map('upper') }}", "map needs a name in quotes: attribute='…'"),
        ("{{ talks|map(attribute='__class__')|join }}", "attribute '__class__' is unknown"),
        ("{{ talks|map(attribute='to' ~ 'pic')|join }}", "map needs a name in quotes"),
        ("{{ talks|join(**part) }}", "* and ** are not possible in a text"),
        ("{% if part is callable %}{% endif %}", "test 'callable' is unknown"),
    ],
)
def test_what_is_not_given_is_out_of_reach(folder: Path, text: str, said: str) -> None:
    assert stopped(folder, text).startswith(said)


def test_everything_that_is_refused_is_named_at_once(folder: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        render(folder, "{{ nope }}\n{% if part %}{{ range(9) }}\n{{ 2 ** 9 }}{% endif %}")
    lines = [problem.split(", ", 1)[1][:20] for problem in caught.value.problems]
    assert lines == ["line 1: 'nope' is un", "line 2: nothing can ", "line 3: ** is not po"]


@pytest.mark.parametrize("text", ["{% if part %}" * 150, f"{{{{ {'(' * 3000}1{')' * 3000} }}}}"])
def test_what_python_cannot_compile_is_refused_too(folder: Path, text: str) -> None:
    with pytest.raises(TemplateError, match=r"weekly\.md, line 1: is nested too deeply"):
        render(folder, text + "{% endif %}" * text.count("{% if"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{ talks[0].topic|upper|truncate(10) }} {{ talks[0]['topic'][:3] }}", "AGENTS Age"),
        (("{% for t in talks %}{{ loop.index }}/{{ loop.length }}"
         "{% if not loop.last %}, {% endif %}{% endfor %}"), "1/2, 2/2"),
        (("{% for t in talks %}{% if loop.first or t.date != loop.previtem.date %}{{ t.date }}: "
         "{% endif %}{{ t.username }} {% endfor %}"), "2026-11-20: ada kaz"),
        ("{% for t in talks if t.number > 1 %}{{ t.number }}{% else %}none{% endfor %}", "2"),
        ("{% for t in talks if t.number > 9 %}{{ t.number }}{% else %}none{% endfor %}", "none"),
        (TWICE + "{{ t.number + u.number }} " + END, "2 3 3 4"),
        ("{% set x = part + 2 %}{% set y = x * 2 %}{{ x }}{{ y }}", "36"),
        ("{% set who = talks[0].username ~ ' & ' ~ talks[-1].username %}{{ who }}", "ada & kaz"),
        ("{{ part is odd }}{{ part is defined }}{{ none|default('d', true) }}", "TrueTrued"),
        ("{{ talks|map(attribute='username')|join(', ') }}", "ada, kaz"),
        ("{{ talks|join('+', attribute='number') }}={{ talks|length }}", "1+2=2"),
        ("{{ (talks|last).username|capitalize }} {{ talks|count }}", "Kaz 2"),
        ("{{ 'yes' if part < 2 else 'no' }}{{ 7 // 2 }}{{ -7 % 4 }}{{ 2 * 4 - 1 }}", "yes317"),
        ("{{ talks[0].date|replace('-', '.') }}", "2026.11.20"),
        ("{% if part in [1, 2] and not (part == 3 or 'x' in 'y') %}in{% endif %}", "in"),
        ("{% raw %}{{ as it is }}{% endraw %}{# unseen #}", "{{ as it is }}"),
        ("{% if part > 3 %}a{% elif part == 1 %}b{% else %}c{% endif %}", "b"),
    ],
)  # fmt: skip
def test_what_texts_need_works(folder: Path, text: str, shown: str) -> None:
    assert render(folder, text) == shown


PIECES = st.sampled_from([
    "{{ ", " }}", "{% for t in talks %}", "{% endfor %}", "{% if ", "{% endif %}", " %}",
    "{% set a = ", "{% else %}", "talks", "part", "t", "a", "nope", "loop", ".index", ".topic",
    "[0]", "[", "]", "(", ")", "'%99d'", "1", "-1", " ~ ", " + ", " * ", " % ", " ** ", " < ",
    " in ", " is odd", "|upper", "|join", "|map(attribute='topic')", "|replace('', t)",
    "|truncate(", "|nope", ", ", "{", "}", " if ", " else ",
])  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=20).map("".join))
def test_whatever_a_template_says_it_renders_or_is_named(source: str) -> None:
    with TemporaryDirectory() as name:
        found = problems(templates(Path(name), source), [NAME])
    assert all(f"{NAME}.md, line " in problem for problem in found)
    assert not any("line None" in problem for problem in found)
