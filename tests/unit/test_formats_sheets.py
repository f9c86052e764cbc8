"""Sheets as people keep them: their headers, separators, encodings and .xlsx."""

from __future__ import annotations

import io
import sys
import tracemalloc
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest

from speakerbot.domain.talk import Speaker, Talk
from speakerbot.errors import InputRefused, UsageError
from speakerbot.formats import talk_files, talk_import
from speakerbot.formats.source import MOST_BYTES, Source, source_of
from speakerbot.formats.spreadsheet import MOST_LINES
from speakerbot.formats.talk_fields import COLUMNS

NOW = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
MIRA, KAZ = "802345678901234561", "802345678901234564"
PEOPLES = "Speaker,Discord ID,Title,Date,Start time"
MIRAS = f"mira,{MIRA},Evals,26/11/2026,7pm"


def imported(data: bytes | str, mapped: Mapping[str, str] | None = None) -> list[Talk]:
    return planned(read(data), mapped)


def read(data: bytes | str) -> Source:
    return source_of(data.encode() if isinstance(data, str) else data, "sheet")


def planned(source: Source, mapped: Mapping[str, str] | None = None) -> list[Talk]:
    entries = list(talk_files.read(source, NOW.date(), mapped=mapped))
    zone = ZoneInfo("Europe/Berlin")
    change = talk_import.plan(entries, [], NOW, source.problems, zone, one_a_date=False)
    source.problems.refuse()
    return change.new


def refused(data: bytes | str, mapped: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(InputRefused) as problem:
        imported(data, mapped)
    return list(problem.value.problems)


def is_miras(talks: list[Talk]) -> bool:
    [talk] = talks
    return (talk.user_id, talk.username, talk.topic, talk.date, talk.starts_at) == (
        MIRA, "mira", "Evals", date(2026, 11, 26), time(19),
    )  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        PEOPLES,
        PEOPLES.upper(),
        "speaker name,user id,talk title,day,start",
        "Discord-Username , discord_user_id,TOPIC,Scheduled Date,Time (Berlin)",
        "discordUsername,discordUserId,topic,scheduledDate,starts_at",
        "discordUsername,discordUserId,topic,scheduledDate,speakerbot.startsAt",
    ],
)
def test_headers_are_known_however_people_write_them(header: str) -> None:
    assert is_miras(imported(f"{header}\n{MIRAS}\n"))


def test_columns_come_in_any_order() -> None:
    text = f"Title,Date,Speaker,Start time,Discord ID\nEvals,26 Nov,mira,19.00,<@{MIRA}>\n"
    assert is_miras(imported(text))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\n", '"sep={}"\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_dialect_of_csv_is_read(separator: str, first: str, end: str, encoding: str) -> None:
    rows = f"{PEOPLES}\n{MIRAS}\nZoë,{KAZ},Looms,27/11/2026,9:30\n".replace(",", separator)
    text = (first.format(separator) + rows).replace("\n", end)
    talks = imported(text.encode(encoding))
    assert is_miras(talks[:1])
    assert (talks[1].username, talks[1].starts_at) == ("Zoë", time(9, 30))


def test_a_separator_inside_a_header_does_not_mislead() -> None:
    text = f"Speaker;Discord ID;Title;Date;Notes (a, b, c, d, e)\nmira;{MIRA};Evals;26 Nov;x\n"
    [talk] = imported(text)
    assert talk.extra == {"Notes (a, b, c, d, e)": "x"}


def test_windows_1252_is_read_and_said() -> None:
    source = read(f"{PEOPLES}\n{MIRAS}\nZoë,{KAZ},Looms,27/11/2026,\n".encode("cp1252"))
    assert len(planned(source)) == 2
    assert any("read as Windows-1252 (Zoë," in note for note in source.notes)


def test_a_title_may_stand_above_the_header() -> None:
    assert is_miras(imported(f"Programme of autumn 2026,,,,\n,,,,\n{PEOPLES}\n{MIRAS}\n"))


def test_a_row_is_named_with_its_line_and_the_columns_own_name() -> None:
    text = f"sep=,\r\nWhen,Title,Speaker,Discord ID\r\nsoon,Evals,mira,{MIRA}\r\n"
    assert refused(text) == [
        "line 3, When: 'soon' is not a date; write YYYY-MM-DD, 26 Nov 2026 or 26/11/2026"
    ]


def test_length_room_link_and_co_speakers_are_read() -> None:
    [talk] = imported(
        f"{PEOPLES},Duration (min),Location,URL,Speaker 2,Speaker 2 ID,speaker3_id,Speaker 3\n"
        f"{MIRAS},45 min,Hall 2,https://example.org/a,kaz,<@{KAZ}>,802345678901234567,ada\n"
    )
    assert (talk.length, talk.room, talk.link) == (45, "Hall 2", "https://example.org/a")
    assert talk.co_speakers == (Speaker(KAZ, "kaz"), Speaker("802345678901234567", "ada"))


def test_a_co_speaker_has_a_name_and_an_id() -> None:
    text = (
        f"{PEOPLES},Speaker 2,Speaker 2 ID,Link\n{MIRAS},kaz,,x\n{MIRAS},,{KAZ},\n{MIRAS},kaz,7,\n"
    )
    found = refused(text)
    assert found[0].startswith("line 2, Link: 'x' is not a link; write https://")
    assert found[1] == "line 2, Speaker 2 ID: missing: a speaker has a name and a Discord ID"
    assert found[2] == "line 3, Speaker 2: missing: a speaker has a name and a Discord ID"
    assert found[3].startswith("line 4, Speaker 2 ID: '7' is not a Discord id")


def test_all_that_is_wrong_is_said_at_once_and_in_order() -> None:
    text = (
        f"{PEOPLES}\n{MIRAS}\n,{MIRA},Evals,soon,7\nkaz,802,,27/11/2026,\nkaz,,Looms,28/11/2026,\n"
    )
    places = [problem.partition(":")[0] for problem in refused(text)]
    assert places == [
        "line 3, Date",
        "line 3, Start time",
        "line 3, Speaker",
        "line 4, Discord ID",
        "line 4, Title",
        "line 5, Discord ID",
    ]


def test_map_says_what_a_column_holds() -> None:
    text = f"Who,Snowflake #,What,Date,Start time\n{MIRAS}\n"
    options = ["Who=speaker", "Snowflake #=Discord ID", "What=title"]
    assert is_miras(imported(text, COLUMNS.parse_map(options)))


def test_map_leaves_a_column_out_and_goes_before_a_guess() -> None:
    text = f"{PEOPLES},Name,reminders\n{MIRAS},Mira C.,yes\n"
    assert any("Speaker and Name both stand for Speaker" in each for each in refused(text))
    mapped = COLUMNS.parse_map(["Name=ignore", "reminders=ignore"])
    [talk] = imported(text, mapped)
    assert (talk.username, talk.extra) == ("mira", {})
    source = read(text)
    mapped = COLUMNS.parse_map(["Name=speaker", "reminders=ignore"])
    [talk] = planned(source, mapped)
    assert (talk.username, talk.extra) == ("Mira C.", {})
    assert "column Speaker is left out: another was given in its place" in source.notes


def test_a_map_that_makes_no_sense_is_wrong_usage() -> None:
    with pytest.raises(UsageError) as problem:
        COLUMNS.parse_map(["Who=speeker", "Who", "=Title", "Who=banana"])
    lines = str(problem.value).splitlines()
    assert lines[0] == "--map 'Who=speeker': 'speeker' is not a field; did you mean 'Speaker'?"
    assert lines[1] == "--map 'Who': write COLUMN=FIELD, as 'Who=Speaker'"
    assert "'banana' is not a field; choose from Talk ID, Discord ID, Speaker, " in lines[3]
    assert lines[3].endswith("Speaker 9, Speaker 9 ID, ignore")
    found = refused(f"{PEOPLES}\n{MIRAS}\n", {"Who": "speakerbot.startsAt"})[0]
    assert found.startswith("line 1: --map: no column is called Who; the header names Speaker")


def test_a_misspelt_column_is_named_with_what_was_meant() -> None:
    [found] = refused(f"Speaker,Discord ID,Titel,Dat\nmira,{MIRA},Evals,26 Nov\n")
    assert found == (
        "line 1: no column Title, Date; the header names Speaker, Discord ID, Titel, Dat; "
        "did you mean Title by Titel? --map 'Titel=Title'; "
        "did you mean Date by Dat? --map 'Dat=Date'"
    )
    source = read(f"{PEOPLES},Comleted\n{MIRAS},no\n")
    [talk] = planned(source)
    assert talk.extra == {"Comleted": "no"}
    assert source.notes == [
        "column Comleted is not known; did you mean Completed? --map 'Comleted=Completed'"
    ]


@pytest.mark.parametrize("name", ["reminders", "speakerbot", "Speakerbot", "a.b", "$set"])
def test_a_column_that_would_poison_the_store_is_refused(name: str) -> None:
    [found] = refused(f"{PEOPLES},{name}\n{MIRAS},x\n")
    assert found.startswith(f"line 1: no such column as {name}, and nothing can be kept")


def test_a_column_of_row_numbers_is_not_taken_for_ids_of_talks() -> None:
    [talk] = imported(f"ID,{PEOPLES}\n1,{MIRAS}\n")
    assert len(talk.id) == 24
    assert talk.extra == {"ID": "1"}
    [talk] = imported(f"Talk ID,{PEOPLES}\nmine,{MIRAS}\n")
    assert talk.id == "mine"


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("8.02E+17", "'8.02E+17' was a Discord id; a spreadsheet turned it into a number"),
        ("8,02346E+17", "a spreadsheet turned it into a number"),
        ("802", "'802' is not a Discord id, which has 17 to 20 digits"),
        ("80234567890123456.0", "a spreadsheet turned it into a number"),
        ("@mira", "'@mira' is not a Discord id"),
    ],
)
def test_an_id_that_is_none_is_refused(cell: str, problem: str) -> None:
    [found] = refused(f'{PEOPLES}\nmira,"{cell}",Evals,26/11/2026,\n')
    assert found.startswith("line 2, Discord ID: ")
    assert problem in found


def with_ids(*ids: str) -> str:
    rows = (
        f"s{n},{each},Talk {n},{date(2027, 1, 1) + timedelta(n)}," for n, each in enumerate(ids)
    )
    return "\n".join([PEOPLES, *rows])


def test_ids_that_a_spreadsheet_rounded_are_refused() -> None:
    right = [str(802345678901234561 + 11 * n) for n in range(18)]
    rounded = ["802345678901235000", "802345678901236000"]
    found = refused(with_ids(*right, *rounded))
    assert [each.partition(":")[0] for each in found] == [
        "line 20, Discord ID",
        "line 21, Discord ID",
    ]
    assert "802345678901235000 ends in 000, as others of this column do" in found[0]
    assert "if it is right, write <@802345678901235000>" in found[0]
    assert len(imported(with_ids(*right, rounded[0]))) == 19
    assert len(imported(with_ids(*right, "802345678901234992", *rounded))) == 21
    mentions = [f"<@{each}>" for each in rounded]
    assert [talk.user_id for talk in imported(with_ids(*mentions))] == rounded


def workbook(
    *sheets: tuple[str, Sequence[Sequence[Any]]], formats: Mapping[str, str] | None = None
) -> bytes:
    made = openpyxl.Workbook()
    made.remove(made.worksheets[0])
    for title, rows in sheets:
        sheet = made.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
        for cell, form in (formats or {}).items():
            sheet[cell].number_format = form
    stream = io.BytesIO()
    made.save(stream)
    return stream.getvalue()


HEADER = PEOPLES.split(",")
LATE = datetime.fromisoformat("2026-11-27T19:30")


def test_a_workbook_is_read_with_its_date_and_time_cells() -> None:
    data = workbook(
        ("Talks", [
            HEADER,
            ["mira", MIRA, "Evals", date(2026, 11, 26), time(19)],
            ["kaz", KAZ, "Looms", LATE, None],
            [],
            ["zoë", f"<@{MIRA}>", "=1+1", "3 Dec", "7pm"],
        ])
    )  # fmt: skip
    source = read(data)
    talks = list(talk_files.read(source, NOW.date()))
    assert source.problems.found == ["row 5, Title: missing"]  # no program has computed it
    assert [(each.place, each.values["date"], each.values["starts_at"]) for each in talks] == [
        ("row 2", date(2026, 11, 26), time(19)),
        ("row 3", date(2026, 11, 27), time(19, 30)),
    ]


def test_numbers_as_ids_are_taken_where_they_are_whole_and_refused_where_rounded() -> None:
    def ids(value: object) -> bytes:
        return workbook(("Talks", [HEADER, ["mira", value, "Evals", date(2026, 11, 26), time(19)]]))

    exact = _edited(ids(int(MIRA)), "<v>8.023456789012346e+17</v>", f"<v>{MIRA}</v>")
    assert is_miras(imported(exact))
    for rounded in (8.02345678901235e17, int(MIRA)):
        [found] = refused(ids(rounded))
        assert found.startswith("row 2, Discord ID: '8.02345678901235E+17' was a Discord id")
    zeros = _edited(ids(int(MIRA)), "<v>8.023456789012346e+17</v>", "<v>802345678901235000</v>")
    assert "a spreadsheet turned it into a number" in refused(zeros)[0]


def test_the_first_sheet_with_a_header_that_is_known_is_read_and_said() -> None:
    data = workbook(
        ("Cover", [["Autumn"], ["Speaker", "dinner"]]),
        ("Contacts", [["Name", "Phone"], ["mira", 1]]),
        ("Programme", [["Autumn 2026"], HEADER, ["mira", MIRA, "Evals", "26 Nov 2026", "7pm"]]),
        ("Old", [HEADER, ["kaz", KAZ, "Looms", "26 Nov 2025", ""]]),
    )
    source = read(data)
    assert is_miras(planned(source))
    assert source.notes == ["read from its sheet Programme, not from Cover, Contacts, Old"]


def test_columns_far_to_the_right_cost_nothing() -> None:
    """A row with one cell in the last column there is would have 16,384."""
    data = workbook(("Talks", [HEADER, ["mira", MIRA, "Evals", "26 Nov 2026", "7pm"]]))
    far = "".join(f'<row r="{n}"><c r="XFD{n}" t="n"><v>1</v></c></row>' for n in range(3, 3000))
    assert is_miras(imported(_edited(data, "</sheetData>", f"{far}</sheetData>")))


def _edited(data: bytes, old: str, new: str, part: str = "xl/worksheets/sheet1.xml") -> bytes:
    """The same archive with another text in one of its parts."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as was, zipfile.ZipFile(stream, "w") as now:
        for name in was.namelist():
            text = was.read(name)
            if name == part:
                assert old.encode() in text
                text = text.replace(old.encode(), new.encode())
            now.writestr(name, text, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ("xl/worksheets/sheet1.xml", "it unpacks to 20"),
        ("xl/styles.xml", "its part xl/styles.xml unpacks to 200 MB; save the sheet as CSV"),
    ],
)
def test_a_zip_bomb_is_refused_before_it_is_unpacked(part: str, problem: str) -> None:
    data = workbook(("Talks", [HEADER]))
    bomb = _padded(data, part, 200 * 1024 * 1024)
    assert len(bomb) < 1024 * 1024
    tracemalloc.start()
    try:
        [found] = refused(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert problem in found
    assert peak < 32 * 1024 * 1024


def _padded(data: bytes, part: str, size: int) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as was,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as now,
    ):
        for name in was.namelist():
            if name != part:
                now.writestr(name, was.read(name))
        with now.open(part, "w", force_zip64=True) as written:
            written.write(was.read(part))
            for _ in range(size // 2**20):
                written.write(b" " * 2**20)
    return stream.getvalue()


def test_an_archive_that_lies_about_its_size_is_refused() -> None:
    data = bytearray(_padded(workbook(("Talks", [HEADER])), "xl/worksheets/sheet1.xml", 2**27))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    at = data.rindex(b"xl/worksheets/sheet1.xml") - 46  # its entry in the central directory
    assert int.from_bytes(data[at + 24 : at + 28], "little") == size
    data[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    [found] = refused(bytes(data))
    assert "cannot be read" in found


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("xl/worksheets/sheet1.xml", "<sheetData>", "<sheetData><row><c"),
        ("xl/workbook.xml", "<sheets>", "<sheets><"),
        ("[Content_Types].xml", "sheet.main+xml", "sheet.other+xml"),
        (
            "xl/worksheets/sheet1.xml",
            "<worksheet",
            '<!DOCTYPE x [<!ENTITY a "'
            + "a" * 1000
            + '">'
            + "".join(f'<!ENTITY {to} "{f"&{of};" * 100}">' for of, to in ("ab", "bc", "cd", "de"))
            + "]><worksheet>&e;</worksheet><worksheet",
        ),
    ],
    ids=["truncated", "not XML", "no workbook", "entities that grow"],
)
def test_a_damaged_or_hostile_workbook_is_refused(part: str, old: str, new: str) -> None:
    data = workbook(("Talks", [HEADER, ["mira", MIRA, "Evals", "26 Nov 2026", "7pm"]]))
    [found] = refused(_edited(data, old, new, part))
    assert "cannot be read" in found


def test_a_truncated_workbook_is_refused() -> None:
    data = workbook(("Talks", [HEADER]))
    [found] = refused(data[:-10])
    assert found.startswith("it is a damaged .xlsx (")


def test_a_hundred_megabytes_are_refused() -> None:
    [found] = refused(b"x" * (100 * 1024 * 1024))
    assert found == f"more than {MOST_BYTES // 2**20} MB; split it into smaller files"


def test_a_cell_that_is_a_book_is_not_printed_whole() -> None:
    [found] = refused(f"{PEOPLES}\nmira,{MIRA},Evals,{'soon ' * 20_000},\n")
    assert found.startswith("line 2, Date: 'soon soon")
    assert len(found) < 1100


def test_more_rows_than_anybody_has_are_refused() -> None:
    found = refused(f"{PEOPLES}\n" + f"{MIRAS}\n" * (MOST_LINES + 1))
    assert found[0] == "line 100002: more than 100,000 rows; split the sheet"


def test_without_openpyxl_the_command_that_installs_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = workbook(("Talks", [HEADER]))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UsageError, match="-m pip install openpyxl; or save the sheet as CSV"):
        imported(data)
    with pytest.raises(UsageError, match=r"writing .xlsx needs openpyxl: .* -m pip install"):
        talk_files.template_workbook()


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_the_template_is_an_empty_sheet_that_import_reads(form: str, tmp_path: Path) -> None:
    template = (
        "".join(talk_files.write_template()).encode()
        if form == "csv"
        else talk_files.template_workbook()
    )
    source = read(template)
    assert list(talk_files.read(source, NOW.date())) == []
    assert source.problems.found == []
    place = "line 2" if form == "csv" else "row 2"
    assert source.notes == [f"{place} is the example of the template, and was left out"]


def test_what_is_filled_into_the_template_is_imported() -> None:
    book = openpyxl.load_workbook(io.BytesIO(talk_files.template_workbook()))
    sheet = book.worksheets[0]
    assert sheet.column_dimensions["B"].number_format == "@"  # ids are not rounded in it
    sheet.append(["mira", MIRA, "Evals", date(2026, 11, 26), time(19)])
    stream = io.BytesIO()
    book.save(stream)
    assert is_miras(imported(stream.getvalue()))
