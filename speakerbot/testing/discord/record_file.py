"""The append-only file of everything that happened, one JSON record a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from speakerbot.testing.discord.call import Context
from speakerbot.testing.discord.clock import nanoseconds
from speakerbot.testing.discord.records import Deletion, DmOpened, Edit, Message, Record

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


class RecordFile:
    """Each ``write`` is one system call, so a kill of this process loses no line it returned from
    (a power cut may). Other processes may read the file at any time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, records: Iterable[Record]) -> None:
        self._file.write(lines(records))

    def close(self) -> None:
        self._file.close()


def lines(records: Iterable[Record]) -> bytes:
    return b"".join(_encode(record) + b"\n" for record in records)


def read_lines(data: bytes) -> Iterator[Record]:
    """Leaves out a last line that was not finished."""
    for line in data.splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield _decode(line)


def read_record(path: Path) -> list[Record]:
    """The records of a file; none if it does not exist. Messages have their edits applied."""
    records = list(read_lines(path.read_bytes())) if path.exists() else []
    messages = {record.id: record for record in records if isinstance(record, Message)}
    for record in records:
        if isinstance(record, Edit):
            messages[record.message_id].apply(record)
        elif isinstance(record, Deletion):
            messages[record.message_id].deleted = True
    return records


def restore(records: Iterable[Record], context: Context) -> None:
    """Puts channels, messages and nonces back, as far as a record knows them."""
    state, settings = context.state, context.settings
    for record in records:
        if isinstance(record, DmOpened):
            state.restore_dm(record)
        elif isinstance(record, Message):
            state.restore_message(record)
            context.nonces.remember(record, settings, nanoseconds(record.at))
    state.news.clear()
