"""People as CSV and JSON lines: who is who, and wishes that an import never takes away."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speakerbot.domain.person import OPT_OUT_KINDS, Person, QuietHours
from speakerbot.formats import people as formats
from speakerbot.formats.people import PersonEntry, PersonImport
from speakerbot.formats.problems import ImportProblems
from speakerbot.formats.source import Kind, Source, read_source

SAMPLES = Path(__file__).parents[2] / "samples" / "people.csv"
SAM_ID, ADA_ID = "802345678901234563", "802345678901234567"
SAM = Person(
    id=f"discord-{SAM_ID}",
    discord_user_id=SAM_ID,
    name="Sam",
    timezone="Europe/Berlin",
    opted_out=frozenset({"reminders"}),
    quiet_hours=QuietHours(time(22), time(8)),
    routes=("thread", "dm"),
    extra={"location": "Troy, NY", "streak": 3},
)


def source(text: str, kind: Kind) -> Source:
    return Source(text, kind, ImportProblems(f"people.{kind}"))


def planned(text: str, kind: Kind = "csv", stored: tuple[Person, ...] = ()) -> PersonImport:
    read = source(text, kind)
    change = formats.plan(list(formats.read(read, read.problems)), stored, read.problems)
    read.problems.refuse()
    return change


def problems(text: str, kind: Kind = "csv", stored: tuple[Person, ...] = ()) -> list[str]:
    read = source(text, kind)
    formats.plan(list(formats.read(read, read.problems)), stored, read.problems)
    return read.problems.found


def test_the_samples_name_the_one_whose_time_zone_does_not_exist() -> None:
    read = read_source(SAMPLES)
    people = list(formats.read(read, read.problems))
    assert len(people) == 7
    assert read.problems.found == [
        "line 7 (Bo), timezone: 'Not/AZone' is not a time zone; write e.g. Europe/Berlin or UTC"
    ]


def test_what_checkins_need_is_kept_as_it_came() -> None:
    change = planned(SAMPLES.read_text().replace("Not/AZone", "Europe/Stockholm"))
    sam = next(person for person in change.new if person.name == "Sam")
    assert (sam.id, sam.discord_user_id) == ("discord-802345678901234563", "802345678901234563")
    assert sam.extra == {
        "preferred_message_time": "23:50",
        "flexibility": "default",
        "support_style": "listener",
        "location": "Troy, NY",
        "onboarded": "2026-08-01T12:00:00Z",
        "paused": "false",
    }
    assert {person.id for person in change.new} >= {"telegram-710000001", "name-kit"}


def test_importing_twice_changes_nothing() -> None:
    text = SAMPLES.read_text().replace("Not/AZone", "Europe/Stockholm")
    stored = tuple(planned(text).new)
    assert planned(text, stored=stored).unchanged == 8


def test_json_lines_keep_everything() -> None:
    people = [
        SAM,
        Person(id="name-kit", name="Kit"),
        Person(id=f"discord-{ADA_ID}", discord_user_id=ADA_ID),
    ]
    assert planned("".join(formats.write_json(people)), "json").new == people


def test_csv_keeps_everything_as_text() -> None:
    people = [
        SAM,
        Person(id="name-kit", name="Kit"),
        Person(id=f"discord-{ADA_ID}", discord_user_id=ADA_ID),
    ]
    sam = replace(SAM, extra={"location": "Troy, NY", "streak": "3"})
    assert planned("".join(formats.write_csv(people))).new == [sam, *people[1:]]


def test_a_known_person_is_found_by_discord_id_then_telegram_id() -> None:
    alex = Person(id="alex", name="Alex", extra={"telegram_user_id": "71"})
    change = planned(
        f"name,telegram_user_id,discord_user_id,timezone\nAlex,71,,Asia/Tokyo\nS,,{SAM_ID},UTC\n",
        stored=(alex, SAM),
    )
    assert {person.id: person.timezone for person in change.updated} == {
        "alex": "Asia/Tokyo",
        SAM.id: "UTC",
    }


def test_an_import_opts_nobody_in_and_clears_nothing() -> None:
    text = f"discord_user_id,opted_out,quiet_hours,routes\n{SAM_ID},timers,,\n"
    [sam] = planned(text, stored=(SAM,)).updated
    assert sam.opted_out == {"reminders", "timers"}
    assert (sam.quiet_hours, sam.routes) == (SAM.quiet_hours, SAM.routes)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"discord_user_id": "mira"}, "discord_user_id: 'mira' is not a Discord id"),
        ({"discord_user_id": 802}, "discord_user_id: 802 is a number; a Discord id is written"),
        ({"name": "Sam", "timezone": "Mars/Phobos"}, "line 1 (Sam), timezone: 'Mars/Phobos' is no"),
        ({"name": "Sam", "quiet_hours": "22-8"}, "quiet_hours: '22-8' are not quiet hours"),
        ({"name": "Sam", "quiet_hours": "08:00-08:00"}, "to get nothing at all, opt out"),
        ({"name": "Sam", "routes": ["dm", "pigeon"]}, "routes: 'pigeon' is not a route"),
        ({"name": "Sam", "routes": [1]}, "routes: must be a list of texts, not [1]"),
        (
            {"name": "Sam", "opted_out": "spam"},
            "opted_out: 'spam' is not a kind of message; choose from",
        ),
        ({"id": "123"}, "id: '123' is not the id of a person"),
        ({"id": "a\nb"}, "id: 'a\\nb' is not the id of a person"),
        ({"timezone": "UTC", "name": ""}, "line 1: identifies no one: give"),
    ],
)
def test_a_bad_field_is_named(document: dict[str, object], problem: str) -> None:
    [found] = problems(json.dumps(document), "json")
    assert problem in found


def test_the_same_person_twice_is_named() -> None:
    found = problems(f"name,discord_user_id\nSam,{SAM_ID}\nSammy,{SAM_ID}\nKit,\nkit,\n")
    assert found == [
        f"line 3 (Sammy): the same person as line 2 (Sam) ({SAM.id})",
        "line 5 (kit): the same person as line 4 (Kit) (name-kit)",
    ]


def test_somebody_elses_discord_id_is_refused() -> None:
    kit = Person(id="name-kit", name="Kit")
    [found] = problems(f"id,discord_user_id\nname-kit,{SAM_ID}\n", stored=(SAM, kit))
    assert found == f"line 2, discord_user_id: it is {SAM.id}'s"


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=500)
names = words.map(str.strip).filter(bool)
ids = st.integers(10**16, 10**20 - 1).map(str).filter(lambda digits: not digits.endswith("000"))
"""A sheet with several ids that end in 000 is refused, and one with several such people is rare."""
kinds = st.sets(st.sampled_from([kind for kind in OPT_OUT_KINDS if kind != "all"])).map(frozenset)
hours = st.tuples(st.integers(0, 11), st.integers(12, 23)).map(
    lambda pair: QuietHours(time(pair[0]), time(pair[1]))
)


def person(name: str | None, user_id: str | None, **more: Any) -> Person:
    """With the id that an import gives: names hold slashes and spaces."""
    values = {"discord_user_id": user_id, "name": name}
    identifier = formats.new_id(PersonEntry("", values))
    return Person(id=identifier, discord_user_id=user_id, name=name, **more)


people = st.builds(
    person,
    names,
    st.none() | ids,
    timezone=st.none() | st.just("Europe/Berlin"),
    opted_out=kinds,
    quiet_hours=st.none() | hours,
    routes=st.permutations(["dm", "thread"]).map(tuple) | st.just(()),
    extra=st.dictionaries(st.just("location"), names),
)


@given(st.lists(people, max_size=4, unique_by=lambda each: each.id))
def test_an_export_of_any_people_is_unchanged_by_its_import(stored: list[Person]) -> None:
    """Also where names hold slashes, spaces and line breaks, or have 500 characters."""
    forms: dict[Kind, Iterable[str]] = {
        "csv": formats.write_csv(stored),
        "json": formats.write_json(stored),
    }
    for form, text in forms.items():
        change = planned("".join(text), form, tuple(stored))
        assert [(row.change, row.after) for row in change.rows] == [
            ("unchanged", each) for each in stored
        ]


def test_ids_with_slashes_and_spaces_come_back() -> None:
    stored = (Person("name-a/b c", name="A / B  C"), Person("x" * 300, name="Y"))
    for form, text in (("csv", formats.write_csv(stored)), ("json", formats.write_json(stored))):
        assert planned("".join(text), form, stored).unchanged == 2  # type: ignore[arg-type]


def test_headers_are_known_however_people_write_them() -> None:
    [sam] = planned(
        f"DISCORD ID;Name;Time Zone;Quiet Hours;Opt-out\n<@{SAM_ID}>;Sam;UTC;22:00-08:00;timers\n"
    ).new
    assert (sam.discord_user_id, sam.name, sam.timezone) == (SAM_ID, "Sam", "UTC")
    assert (str(sam.quiet_hours), *sam.opted_out) == ("22:00-08:00", "timers")


def test_ids_that_a_spreadsheet_rounded_are_refused() -> None:
    found = problems("name,discord_user_id\nSam,802345678901235000\nIna,802345678901236000\n")
    assert [each.partition(":")[0] for each in found] == [
        "line 2 (Sam), discord_user_id",
        "line 3 (Ina), discord_user_id",
    ]
