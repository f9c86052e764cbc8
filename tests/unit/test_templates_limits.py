"""A template that asks for too much, or for what is not its own, ends soon and is named."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from speakerbot.errors import ConfigError
from speakerbot.templates import Templates

NAME = "reminder.day_of"
VALUES = {"username": "kaz", "topic": "Agents", "date": "2026-11-21", "days": 0}
LONGEST = 4.0
"""Seconds, on a busy machine; nothing here takes more than 1.5 on an idle one."""


def render(folder: Path, text: str) -> str:
    """As a run does it: in a worker thread, where no signal arrives."""
    (folder / f"{NAME}.md").write_text(text)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(Templates(folder).render, NAME, VALUES).result()


def refusal(folder: Path, text: str) -> str:
    """Why the text after an empty line is refused; it must not take long."""
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        render(folder, "\n" + text)
    assert time.monotonic() - started < LONGEST
    named = f"template {folder / NAME}.md, line 2: "
    assert str(caught.value).startswith(named)
    return str(caught.value).removeprefix(named)


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(60000) %}{% for j in range(60000) %}{% endfor %}{% endfor %}",
        "{% for i in range(60000) %}{% for j in range(60000) if j < 0 %}{% endfor %}{% endfor %}",
        (
            "{% for i in range(60000) %}{% if loop.length %}{% for j in range(60000) %}"
            "{% endfor %}{% endif %}{% endfor %}"
        ),
        (
            "{% for i in range(60000) recursive %}{% if loop.depth < 9 %}{{ loop(range(60000)) }}"
            "{% endif %}{% endfor %}"
        ),
        "{% for i in range(60000) %}{% set x = range(9999)|sort|length %}{% endfor %}",
        (
            "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
            "{{ m(99) }}"
        ),
    ],
)
def test_rendering_ends_after_a_second(folder: Path, text: str) -> None:
    assert refusal(folder, text) == "rendering takes longer than 1 s"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for i in range(60000) %}ab{% endfor %}", "the text is longer than 64 kB"),
        ("{% set x %}{% for i in range(60000) %}ab{% endfor %}{% endset %}", "longer than 64 kB"),
        ("{{ 'a' * 1000000000 }}", "characters or items"),
        ("{{ 1000000000 * 'a' }}", "characters or items"),
        ("{{ [1] * 1000000000 }}", "characters or items"),
        ("{{ 10 ** 10 ** 10 }}", "a number is too large"),
        ("{{ 10 ** 30 }}", "a number is too large"),
        ("{{ 'a'|center(1000000000) }}", "an argument is too large"),
        ("{{ 'a'|indent(1000000000) }}", "an argument is too large"),
        ("{{ 'a'.center(1000000000) }}", "an argument is too large"),
        ("{{ 'a'.ljust(1000000000) }}", "an argument is too large"),
        ("{{ 'a\tb'.expandtabs(1000000000) }}", "an argument is too large"),
        ("{{ (1).to_bytes(1000000000, 'big') }}", "an argument is too large"),
        ("{{ ('x' * 60000)|replace('x', 'y' * 60000) }}", "an argument is too large"),
        ("{{ range(60000)|join('x' * 60000) }}", "an argument is too large"),
        ("{{ ['a']|map('center', 1000000000)|list }}", "an argument is too large"),
        ("{{ range(1000000000) }}", "Range too big"),
        ("{{ '%1000000000d' % 1 }}", "% is not possible here"),
        ("{{ '{:1000000000}'.format(1) }}", "format is not possible here"),
        ("{{ '{a:1000000000}'.format_map({'a': 1}) }}", "format_map is not possible here"),
        ("{% set a = 'aa' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}", "characters or items"),
        ("{% set a = 'aa' %}" + "{% set a = a + a %}" * 60 + "{{ a }}", "characters or items"),
        ("{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}", "characters or items"),
        ("{% set a = [1] %}" + "{% set a = (a, a) %}" * 60 + "{{ {a: 1} }}", "characters or items"),
        ("{% set a = [1] %}" + "{% set a = {1: a, 2: a} %}" * 60 + "{{ a }}", "characters or item"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too deeply"),
        ("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "too deeply"),
    ],
)
def test_nothing_large_is_begun(folder: Path, text: str, said: str) -> None:
    assert said in refusal(folder, text)


@pytest.mark.parametrize(
    "text", ["{% for i in [1] %}" * 30 + "a" + "{% endfor %}" * 30, f"{{{{ {'(' * 3000}1 }}}}"]
)
def test_what_python_cannot_compile_is_refused_too(folder: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"reminder\.day_of\.md, line 1: .*too deeply"):
        render(folder, text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ().__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ topic.__class__.__base__.__subclasses__() }}",
        "{{ range.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
        "{% for i in [1] %}{{ loop._iterable }}{% endfor %}",
        "{{ [1].append(2) }}",
        "{{ {}.update({}) }}",
    ],
)
def test_what_is_not_its_own_is_out_of_reach(folder: Path, text: str) -> None:
    assert "is unsafe" in refusal(folder, text) or "is undefined" in refusal(folder, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ ''|attr('__class__') }}", "there is no filter 'attr'"),
        ("{{ '{0.__class__}'.format(1) }}", "format is not possible here"),
        ("{{ [topic]|map(attribute='__class__')|join }}", "is unsafe"),
        ("{{ lipsum() }}", "'lipsum' is undefined"),
        ("{{ namespace(a=1) }}", "'namespace' is undefined"),
        ("{{ cycler }}", "'cycler' is undefined"),
        ("{{ topic|random }}", "there is no filter 'random'"),
        ("{% import 'os' as os %}", "only if, for, set, with and macro are possible"),
        ("{% extends 'reminder.days.md' %}", "only if, for, set, with and macro are possible"),
    ],
)
def test_ways_around_are_closed(folder: Path, text: str, said: str) -> None:
    assert said in refusal(folder, text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{ topic|upper|truncate(10) }} {{ topic[:3] }}{{ topic[0] }}", "AGENTS AgeA"),
        ("{{ [3, 1, 2]|sort|join(', ') }}", "1, 2, 3"),
        (("{% for i in [1, 2] %}{{ loop.index }}/{{ loop.length }}"
         "{% if not loop.last %}, {% endif %}{% endfor %}"), "1/2, 2/2"),
        ("{% for i in [] %}{% else %}none{% endfor %}", "none"),
        ("{% for t in [{'a': 1}, {'a': 2}] if t.a > 1 %}{{ t.a }}{% endfor %}", "2"),
        (("{% macro hi(who, n=2) %}hi {{ who }}{{ n }}{% endmacro %}"
         "{{ hi(topic) }} {{ hi(who=username, n=3) }}"), "hi Agents2 hi kaz3"),
        ("{% set x, y = 1, 2 %}{{ x + y }}{% with q = 3 %}{{ q * x }}{% endwith %}", "33"),
        ("{% set z %}<{{ days }}>{% endset %}{{ z }}", "<0>"),
        ("{{ missing|default('d') }}{{ missing is defined }}{{ days is even }}", "dFalseTrue"),
        ("{{ {'a': 1}.items()|list }}{{ [{'a': 3}]|map(attribute='a')|first }}", "[('a', 1)]3"),
        ("{{ 'yes' if days < 1 else 'no' }}{{ 7 // 2 }}{{ -7 % 4 }}{{ 2 ** 8 }}", "yes31256"),
        ("{{ topic.replace('A', 'a').split('e')|last }}", "nts"),
    ],
)  # fmt: skip
def test_ordinary_jinja_works(folder: Path, text: str, shown: str) -> None:
    assert render(folder, text) == shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
