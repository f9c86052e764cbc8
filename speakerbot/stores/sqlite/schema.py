"""The versions of the tables: what each adds. Which one a file has is its ``PRAGMA user_version``.

Instants are integer milliseconds since 1970 in UTC, dates ISO text, ``extra`` and ``counts``
JSON text. A new version appends a step to STEPS; what was released never changes. Each step is one
transaction, its version included: a crash leaves all of it or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from speakerbot.errors import StoreTooNew

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from speakerbot.stores.sqlite.connection import Database

    Steps = Sequence[Callable[[Database], None]]

APPLICATION_ID = 0x73706B72
"""``spkr`` in the file's header: tells our files from other applications'."""

VERSION_1 = (
    """CREATE TABLE talks (
        id TEXT PRIMARY KEY, user_id TEXT NOT NULL, username TEXT NOT NULL,
        topic TEXT NOT NULL, date TEXT NOT NULL UNIQUE, booked_at INTEGER, thread_id TEXT,
        completed INTEGER NOT NULL, scheduler_user_id TEXT, scheduler_username TEXT,
        starts_at TEXT, sent_tminus1_at INTEGER, sent_day_of_at INTEGER,
        extra TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE people (
        id TEXT PRIMARY KEY, discord_user_id TEXT, name TEXT, timezone TEXT,
        opted_out TEXT NOT NULL, quiet_hours TEXT, routes TEXT NOT NULL,
        extra TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX people_discord ON people (discord_user_id)",
    """CREATE TABLE deliveries (
        key TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, kind TEXT NOT NULL,
        recipient TEXT NOT NULL, state TEXT NOT NULL, revision TEXT NOT NULL,
        run_id TEXT NOT NULL, due_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, route TEXT NOT NULL,
        target TEXT NOT NULL, text TEXT NOT NULL, attempts INTEGER NOT NULL,
        lease_until INTEGER, unconfirmed_since INTEGER, retry_at INTEGER,
        error_class TEXT NOT NULL, error TEXT NOT NULL, message_id TEXT NOT NULL,
        channel_id TEXT NOT NULL, sent_at INTEGER, flag_at INTEGER, flag_was INTEGER,
        bot TEXT NOT NULL, nonce TEXT NOT NULL, service_faults INTEGER NOT NULL,
        edit_failures INTEGER NOT NULL, note TEXT NOT NULL)""",
    "CREATE INDEX deliveries_updated ON deliveries (updated_at)",
    "CREATE INDEX deliveries_texts ON deliveries (updated_at) WHERE text <> ''",
    "CREATE INDEX deliveries_state ON deliveries (state, updated_at)",
    "CREATE INDEX deliveries_expiry ON deliveries (state, expires_at)",
    "CREATE INDEX deliveries_recipient ON deliveries (recipient, updated_at)",
    "CREATE INDEX deliveries_subject ON deliveries (subject, updated_at)",
    """CREATE TABLE runs (
        id TEXT NOT NULL UNIQUE, job TEXT NOT NULL, now INTEGER NOT NULL,
        started_at INTEGER NOT NULL, finished_at INTEGER, outcome TEXT NOT NULL,
        schedule TEXT, occurrence INTEGER, counts TEXT NOT NULL, error TEXT NOT NULL)""",
    "CREATE INDEX runs_started ON runs (started_at)",
    "CREATE INDEX runs_job ON runs (job, started_at)",
    """CREATE TABLE occurrences (
        schedule TEXT, occurrence INTEGER, standing TEXT NOT NULL, lease_until INTEGER,
        retry_at INTEGER, resume_at INTEGER, revision TEXT NOT NULL,
        PRIMARY KEY (schedule, occurrence)) WITHOUT ROWID""",
    "CREATE INDEX occurrences_standing ON occurrences (schedule, standing, occurrence)",
    """CREATE TABLE snapshot (
        talk_id TEXT, user_id TEXT, told_date TEXT, told_topic TEXT, seen_date TEXT,
        seen_topic TEXT, pending INTEGER NOT NULL, sequence INTEGER NOT NULL,
        at INTEGER NOT NULL, username TEXT NOT NULL, thread_id TEXT,
        PRIMARY KEY (talk_id, user_id)) WITHOUT ROWID""",
    "CREATE INDEX snapshot_pending ON snapshot (talk_id, user_id) WHERE pending",
    "CREATE INDEX snapshot_seen ON snapshot (seen_date, talk_id, user_id)",
    "CREATE TABLE snapshot_taken (once INTEGER PRIMARY KEY CHECK (once = 1), at INTEGER)",
    """CREATE TABLE calendar (
        talk_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, date TEXT NOT NULL,
        starts_at TEXT, topic TEXT NOT NULL, username TEXT NOT NULL,
        cancelled INTEGER NOT NULL, changed_at INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX calendar_live ON calendar (date, talk_id) WHERE NOT cancelled",
    """CREATE TABLE slots (
        bot TEXT, lane TEXT, next_free INTEGER NOT NULL, clock INTEGER NOT NULL,
        PRIMARY KEY (bot, lane)) WITHOUT ROWID""",
    """CREATE TABLE breakers (
        bot TEXT, name TEXT, until INTEGER NOT NULL, reason TEXT NOT NULL,
        count INTEGER NOT NULL, PRIMARY KEY (bot, name)) WITHOUT ROWID""",
    """CREATE TABLE dm_channels (
        bot TEXT, user_id TEXT, channel_id TEXT NOT NULL,
        PRIMARY KEY (bot, user_id)) WITHOUT ROWID""",
    """CREATE TABLE guilds (
        guild_id TEXT PRIMARY KEY, channel_id TEXT NOT NULL, updated_at INTEGER NOT NULL,
        updated_by TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)


VERSION_2 = (
    """CREATE TABLE inbox (
        key TEXT NOT NULL UNIQUE, id TEXT NOT NULL, recipient TEXT NOT NULL,
        text TEXT NOT NULL, created_at INTEGER NOT NULL, read_at INTEGER)""",
    "CREATE INDEX inbox_recipient ON inbox (recipient, created_at)",
    "CREATE INDEX inbox_unread ON inbox (recipient, created_at) WHERE read_at IS NULL",
    "CREATE INDEX inbox_created ON inbox (created_at)",
    # Slots lie on the store's own clock now: what was kept of another one is of no use.
    "DROP TABLE slots",
    """CREATE TABLE slots (
        bot TEXT, lane TEXT, next_free INTEGER NOT NULL,
        PRIMARY KEY (bot, lane)) WITHOUT ROWID""",
)

VERSION_3 = (
    # Several talks a date: a column's UNIQUE goes only with its table.
    """CREATE TABLE talks_of_version_3 (
        id TEXT PRIMARY KEY, user_id TEXT NOT NULL, username TEXT NOT NULL,
        topic TEXT NOT NULL, date TEXT NOT NULL, booked_at INTEGER, thread_id TEXT,
        completed INTEGER NOT NULL, scheduler_user_id TEXT, scheduler_username TEXT,
        starts_at TEXT, sent_tminus1_at INTEGER, sent_day_of_at INTEGER,
        extra TEXT NOT NULL, length INTEGER, room TEXT, link TEXT, co_speakers TEXT,
        source_id TEXT) WITHOUT ROWID""",
    """INSERT INTO talks_of_version_3
        SELECT id, user_id, username, topic, date, booked_at, thread_id, completed,
        scheduler_user_id, scheduler_username, starts_at, sent_tminus1_at, sent_day_of_at,
        extra, NULL, NULL, NULL, NULL, NULL FROM talks""",
    "DROP TABLE talks",
    "ALTER TABLE talks_of_version_3 RENAME TO talks",
    "CREATE INDEX talks_date ON talks (date, id)",
    "CREATE INDEX talks_shared ON talks (date, id) WHERE co_speakers IS NOT NULL",
    "CREATE INDEX talks_source ON talks (source_id, id) WHERE source_id IS NOT NULL",
    "ALTER TABLE snapshot ADD COLUMN told_start TEXT",
    "ALTER TABLE snapshot ADD COLUMN seen_start TEXT",
)

CALENDAR_DETAILS = (
    "ALTER TABLE calendar ADD COLUMN length INTEGER",
    "ALTER TABLE calendar ADD COLUMN room TEXT",
    "ALTER TABLE calendar ADD COLUMN link TEXT",
)


ANSWERS = (
    """CREATE TABLE answers (
        kind TEXT, talk_id TEXT, user_id TEXT, date TEXT, answer TEXT NOT NULL,
        at INTEGER NOT NULL, PRIMARY KEY (talk_id, user_id, date, kind)) WITHOUT ROWID""",
    "CREATE INDEX answers_user ON answers (user_id)",
    "CREATE INDEX answers_date ON answers (date)",
)


def _version_1(db: Database) -> None:
    for statement in VERSION_1:
        db.run(statement)
    db.run(f"PRAGMA application_id = {APPLICATION_ID}")


def _version_2(db: Database) -> None:
    for statement in VERSION_2:
        db.run(statement)


def _version_3(db: Database) -> None:
    for statement in VERSION_3:
        db.run(statement)


def _calendar_details(db: Database) -> None:
    for statement in CALENDAR_DETAILS:
        db.run(statement)


def _answers(db: Database) -> None:
    for statement in ANSWERS:
        db.run(statement)


def _server_events(db: Database) -> None:
    db.run(
        """CREATE TABLE server_events (
            talk_id TEXT PRIMARY KEY, revision TEXT NOT NULL, at INTEGER NOT NULL,
            event_id TEXT, written TEXT, stands TEXT, writing TEXT,
            refused TEXT NOT NULL) WITHOUT ROWID"""
    )


STEPS: Steps = (_version_1, _version_2, _version_3, _calendar_details, _answers, _server_events)


def stored_version(db: Database, steps: Steps = STEPS) -> int:
    """0 for an empty file. Raises StoreTooNew."""
    version = int(db.rows("PRAGMA user_version")[0][0])
    if version > len(steps):
        raise StoreTooNew(
            f"{db.where}: a newer speakerbot wrote it (its schema is version {version}, "
            f"this program knows {len(steps)}). Update this program."
        )
    return version


def migrate(db: Database, steps: Steps = STEPS) -> None:
    """Brings the tables to the last version, step by step."""
    if stored_version(db, steps) == len(steps):
        return
    db.use_wal()
    for number, step in enumerate(steps, 1):
        with db.write():
            # Another process may have been first while this one waited for the lock.
            if stored_version(db, steps) < number:
                step(db)
                db.run(f"PRAGMA user_version = {number}")
