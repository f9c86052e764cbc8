"""Opting out and in: what holds afterwards."""

from __future__ import annotations

from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.domain.person import (
    OPT_OUT_KINDS,
    SINGLE_KINDS,
    Person,
    QuietHours,
    new_person,
    opted_in,
    opted_out,
    parse_opt_outs,
    parse_quiet_hours,
)

kinds = st.sampled_from(OPT_OUT_KINDS)
steps = st.lists(st.tuples(st.booleans(), kinds))


def after(steps: list[tuple[bool, str]]) -> Person:
    person = new_person("802")
    for out, kind in steps:
        person = opted_out(person, kind) if out else opted_in(person, kind)
    return person


@given(steps, kinds)
def test_who_opts_out_gets_no_more_of_it(steps: list[tuple[bool, str]], kind: str) -> None:
    before = after(steps)
    person = opted_out(before, kind)
    refused = SINGLE_KINDS if kind == "all" else {kind}
    for single in SINGLE_KINDS:
        assert person.refuses(single) == (single in refused or before.refuses(single))


@given(steps, kinds)
def test_who_opts_in_gets_it_and_no_other_kind_with_it(
    steps: list[tuple[bool, str]], kind: str
) -> None:
    before = after(steps)
    person = opted_in(before, kind)
    wanted = SINGLE_KINDS if kind == "all" else {kind}
    for single in SINGLE_KINDS:
        assert person.refuses(single) == (single not in wanted and before.refuses(single))


def test_all_also_covers_kinds_that_are_yet_to_come() -> None:
    assert opted_out(new_person("802"), "all").refuses("a kind of next year")


def test_a_kind_that_addresses_nobody_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="engagement posts to a channel and writes to no person"):
        parse_opt_outs("reminders, engagement")


@pytest.mark.parametrize("text", ["22:00-08:00", " 22:00 - 08:00 ", "22:00–08:00"])
def test_quiet_hours_are_read_as_people_write_them(text: str) -> None:
    assert parse_quiet_hours(text) == QuietHours(time(22), time(8))


@pytest.mark.parametrize("text", ["", "22-8", "22:00", "22:00-25:00", "22:00-22:00", "a-b"])
def test_what_makes_no_sense_as_quiet_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"quiet hours|opt out"):
        parse_quiet_hours(text)
