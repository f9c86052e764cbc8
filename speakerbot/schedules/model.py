"""The shape of ``schedules.json``, field by field; the JSON Schema for editors is made from it.

Types and texts here are what a person sees while typing. Rules that need more than one field, or
a computation (a cron expression that never fires), live in ``checks``.

What does not fit is collected, each problem with its place, before anything is said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from speakerbot.domain.cron import MACROS
from speakerbot.domain.job_registry import JobRegistry
from speakerbot.schedules.regions import REGIONS
from speakerbot.schedules.schedule import LONGEST_NAME
from speakerbot.text import did_you_mean

# Patterns and lists of values go to the schema only: ``checks`` says in plain words what msgspec
# would say in regular expressions.
DURATION = r"^\s*[0-9]+\s*[smhd]\s*$"
NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"

Duration = Annotated[
    str,
    Meta(examples=["90s", "30m", "6h", "14d"], extra_json_schema={"pattern": DURATION}),
]
Region = Annotated[
    str,
    Meta(
        description="A Fly region.",
        extra_json_schema={"enum": sorted(REGIONS)},
    ),
]
Regions = Annotated[
    list[Region],
    Meta(min_length=1, description="Where the machines are, in turn; instead of region."),
]
Machines = Annotated[
    int,
    Meta(ge=1, le=20, description="How many machines; default: one, or one for each of regions."),
]
Share = Annotated[
    bool,
    Meta(description="Let all machines work on an occurrence at once, instead of one of them."),
]
Environment = Annotated[
    dict[str, str],
    Meta(description="Variables for the run. Secrets belong into `fly secrets set`, not here."),
]
Grace = Annotated[
    Duration, Meta(description="How late an occurrence may still run; after that it is missed.")
]
Wait = Annotated[
    Duration, Meta(description="How long a tick that comes early may sleep until the occurrence.")
]
Timeout = Annotated[
    Duration, Meta(description="After this a run is stopped; its occurrence stays open.")
]


class GuestFields(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The machine's size."""

    cpu_kind: Literal["shared", "performance"] | UnsetType = UNSET
    cpus: Annotated[int, Meta(ge=1, le=16)] | UnsetType = UNSET
    memory_mb: (
        Annotated[int, Meta(ge=256, description="Shared CPUs: multiples of 256.")] | UnsetType
    ) = UNSET


class SharedFields(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a default can say and a schedule can override."""

    region: Region | UnsetType = UNSET
    regions: Regions | UnsetType = UNSET
    machines: Machines | UnsetType = UNSET
    share: Share | UnsetType = UNSET
    guest: GuestFields | UnsetType = UNSET
    grace: Grace | UnsetType = UNSET
    wait: Wait | UnsetType = UNSET
    timeout: Timeout | UnsetType = UNSET
    env: Environment | UnsetType = UNSET


class ScheduleFields(SharedFields, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One schedule. It may override any default."""

    name: Annotated[
        str,
        Meta(
            description="Its own name; occurrences are recorded under it.",
            extra_json_schema={"pattern": NAME, "maxLength": LONGEST_NAME},
        ),
    ]
    job: Annotated[str, Meta(description="What to run.")]
    cron: Annotated[
        str,
        Meta(
            description="Minute, hour, day of month, month, day of week; or " + ", ".join(MACROS),
            examples=["0 17 * * MON", *MACROS],
        ),
    ]
    timezone: Annotated[str, Meta(description="IANA name.")] | UnsetType = UNSET
    args: Annotated[list[str], Meta(description="Further arguments of the job.")] | UnsetType = (
        UNSET
    )
    enabled: (
        Annotated[bool, Meta(description="false keeps the machine but never starts it.")]
        | UnsetType
    ) = UNSET


class ScheduleFile(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """When each job of speakerbot runs, and on which machines."""

    schema: Annotated[str, Meta(description="For editors.")] | UnsetType = msgspec.field(
        default=UNSET, name="$schema"
    )
    timezone: (
        Annotated[str, Meta(description="IANA name; where a schedule has none. Default UTC.")]
        | UnsetType
    ) = UNSET
    defaults: SharedFields | UnsetType = UNSET
    schedules: Annotated[list[ScheduleFields], Meta(min_length=1)]


def json_schema(jobs: JobRegistry) -> dict[str, Any]:
    """The JSON Schema of the file (draft 2020-12), as ``deploy/schedules.schema.json`` ships it."""
    schema = msgspec.json.schema(ScheduleFile)
    schema["$defs"]["ScheduleFields"]["properties"]["job"]["enum"] = list(jobs.names)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "speakerbot schedules",
        **schema,
    }


T = TypeVar("T")


class FileProblems:
    """Problems and warnings of one file."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[str] = []
        self.warnings: list[str] = []

    def add(self, place: str, text: str) -> None:
        self.found.append(f"{self.source}: {place}: {text}" if place else f"{self.source}: {text}")

    def warn(self, place: str, text: str) -> None:
        self.warnings.append(f"{self.source}: {place}: {text}")

    def attempt(self, place: str, parse: Callable[[], T]) -> T | None:
        """What ``parse`` gives, or None where it raises ValueError, which becomes a problem."""
        try:
            return parse()
        except ValueError as error:
            self.add(place, str(error))
            return None


def read_fields(
    shape: type[msgspec.Struct],
    raw: object,
    place: str,
    problems: FileProblems,
    nested: Collection[str] = (),
) -> dict[str, Any]:
    """The fields of ``raw`` that fit ``shape``, each checked by itself so that all that is wrong
    is found at once. Those named in ``nested`` are left to be read in their turn."""
    if not isinstance(raw, dict):
        problems.add(place, f"must be an object, not {json_type(raw)}")
        return {}
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    unknown_keys(raw, fields, place, problems)
    read = {}
    for key, field in fields.items():
        where = f"{place}: {key}" if place else key
        if key not in raw:
            if field.required:
                problems.add(place, f"{key} is missing")
            continue
        if key in nested or _fits(raw[key], field.type, where, problems):
            read[field.name] = raw[key]
    return read


def unknown_keys(
    raw: Mapping[str, object], known: Collection[str], place: str, problems: FileProblems
) -> None:
    for key in raw:
        if key not in known:
            hint = did_you_mean(key, known) or f"; known are {', '.join(known)}"
            problems.add(place, f"unknown key {key!r}{hint}")


def json_type(value: object) -> str:
    names: list[tuple[type, str]] = [
        (bool, "a boolean"), (str, "a string"), (int, "a number"), (float, "a number"),
        (list, "a list"), (dict, "an object"),
    ]  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def _fits(value: object, kind: Any, where: str, problems: FileProblems) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error).replace("`", "").replace(" - at $", " at ")
        problems.add(where, f"{text[0].lower()}{text[1:]}")
        return False
    return True
