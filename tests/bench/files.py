"""What importing and exporting many talks costs, beside a library alone."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import openpyxl

from tests.bench.figures import Figure
from tests.bench.measure import Finished, python, run

SPEAKERBOT = str(Path(sys.executable).parent / "speakerbot")
HEADER = ("Speaker", "Discord ID", "Title", "Date", "Start time", "Length", "Room", "Link")
FLOORS = {
    "csv": "import csv, sys; print(sum(1 for _ in csv.reader(open(sys.argv[1]))))",
    "xlsx": (
        "import openpyxl, sys; "
        "book = openpyxl.load_workbook(sys.argv[1], read_only=True, data_only=True); "
        "print(sum(1 for _ in book.worksheets[0].iter_rows(values_only=True)))"
    ),
    "ics": (
        "import sys; from datetime import UTC, datetime; from icalendar import Calendar, Event\n"
        "calendar = Calendar()\n"
        "for number in range(int(sys.argv[1])):\n"
        "    event = Event()\n"
        "    event.add('uid', f'{number:024x}@speakerbot')\n"
        "    event.add('summary', 'speaker: A talk')\n"
        "    event.add('dtstart', datetime(2026, 11, 27, tzinfo=UTC))\n"
        "    event.add('dtend', datetime(2026, 11, 27, 1, tzinfo=UTC))\n"
        "    calendar.add_component(event)\n"
        "print(len(calendar.to_ical()))"
    ),
}


def files(folder: Path, count: int) -> Iterator[Figure]:
    rows = [_row(number) for number in range(count)]
    _write_csv(folder / "talks.csv", rows)
    _write_workbook(folder / "talks.xlsx", rows)
    for form, beside in (("csv", "csv.reader alone"), ("xlsx", "openpyxl alone")):
        file = str(folder / f"talks.{form}")
        env = {"DATABASE_URL": f"sqlite:///{folder / form}.db"}
        floor = run(python("-c", FLOORS[form], file))
        for what in ("new", "again"):
            took = run([SPEAKERBOT, "talks", "import", file], env)
            yield Figure(
                f"import of {count:,} rows of {form}, {what}",
                _cost(took),
                f"{beside}: {_cost(floor)}",
            )
    env = {"DATABASE_URL": f"sqlite:///{folder / 'csv'}.db"}
    took = run([SPEAKERBOT, "talks", "export", "-o", str(folder / "talks.ics")], env)
    floor = run(python("-c", FLOORS["ics"], str(count)))
    yield Figure(
        f"calendar of {count:,} talks",
        _cost(took),
        f"icalendar alone, with four fields: {_cost(floor)}",
    )


SYNC_FLOOR = "import msgspec, sys; print(len(msgspec.json.decode(open(sys.argv[1], 'rb').read())))"


def syncs(folder: Path, count: int) -> Iterator[Figure]:
    """A programme of so many sessions, in each format."""
    for name, text in (("json", _submissions(count)), ("ics", _events(count))):
        file = folder / f"programme.{name}"
        file.write_text(text)
        env = {"DATABASE_URL": f"sqlite:///{folder / 'sync'}-{name}.db"}
        source = "pretalx" if name == "json" else "a calendar"
        if name == "json":
            floor = run(python("-c", SYNC_FLOOR, str(file)))
            beside = f"msgspec alone: {_cost(floor)}"
        else:
            floor = run(python("-c", ICS_READ, str(file)))
            beside = f"icalendar alone: {_cost(floor)}"
        for what in ("new", "again"):
            took = run([SPEAKERBOT, "talks", "sync", str(file), "--now", SYNC_NOW], env)
            yield Figure(f"sync of {count:,} sessions of {source}, {what}", _cost(took), beside)


SYNC_NOW = "2026-11-20T16:00:00Z"
ICS_READ = (
    "import sys; from icalendar import Calendar; "
    "print(len(Calendar.from_ical(open(sys.argv[1], 'rb').read()).walk('VEVENT')))"
)


def _submissions(count: int) -> str:
    question = {"identifier": "DISCORD", "question": {"en": "Your Discord id"}}
    rows = [
        {
            "code": f"C{number:05d}", "title": f"A talk about something, part {number}",
            "state": "confirmed", "duration": 30, "abstract": "What it is about. " * 40,
            "speakers": [
                {"code": f"S{number % 500}", "name": f"Speaker {number % 500}", "answers": [
                    {"answer": str(802345678901234561 + number % 500), "question": question}]}
            ],
            "slots": [
                {"start": _start(number).isoformat(), "room": {"name": {"en": "Main stage"}}}
            ],
        }
        for number in range(count)
    ]  # fmt: skip
    return json.dumps({"count": count, "next": None, "results": rows})


def _events(count: int) -> str:
    events = (
        f"BEGIN:VEVENT\r\nUID:{number}@bench\r\nDTSTAMP:20261101T000000Z\r\n"
        f"DTSTART:{_start(number):%Y%m%dT%H%M%SZ}\r\nDURATION:PT30M\r\n"
        f"SUMMARY:A talk about something\\, part {number}\r\nLOCATION:Main stage\r\n"
        f"DESCRIPTION:Speaker: Speaker {number % 500}\\nDiscord: "
        f"{802345678901234561 + number % 500}\r\nEND:VEVENT\r\n"
        for number in range(count)
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{''.join(events)}END:VCALENDAR\r\n"


def _start(number: int) -> datetime:
    return datetime(2026, 12, 1, 8, tzinfo=UTC) + timedelta(minutes=30 * number)


def _cost(took: Finished) -> str:
    return f"{took.seconds:.1f} s ({took.cpu_seconds:.1f} s of CPU), {took.peak_mb:.0f} MB"


def _row(number: int) -> tuple[object, ...]:
    return (
        f"speaker{number % 500}",
        str(802345678901234561 + 7 * (number % 500)),
        f"A talk about something, part {number}",
        date(2027, 1, 1) + timedelta(days=number),
        "7:30pm",
        "45 min",
        "Main stage",
        f"https://example.org/talks/{number}",
    )


def _write_csv(file: Path, rows: list[tuple[object, ...]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER)
        writer.writerows((*row[:3], f"{row[3]:%d/%m/%Y}", *row[4:]) for row in rows)


def _write_workbook(file: Path, rows: list[tuple[object, ...]]) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Talks")
    for row in (HEADER, *rows):
        sheet.append(list(row))
    book.save(file)
