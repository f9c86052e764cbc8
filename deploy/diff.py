"""What of two configs is compared, and how a difference is shown. Pure.

Fly adds defaults of its own to what it stores: only the fields we own are looked at.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.machines import OWNER, SCHEDULE, SPEC, Machine
from speakerbot.schedules.checks import looks_secret

MISSING = "(none)"
_MASK = "********"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs, fit to be shown: secrets are masked."""

    field: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.field}: {self.old} → {self.new}"


def changed_fields(wanted: Mapping[str, Any], machine: Machine) -> tuple[FieldChange, ...]:
    """What an update would change, field by field."""
    before, after = _fields(machine.config), _fields(wanted)
    changes = []
    if not same_image(str(wanted.get("image", "")), machine):
        changes.append(FieldChange("image", machine.image or MISSING, str(wanted.get("image"))))
    changes += [
        _shown(field, before.get(field), after.get(field))
        for field in dict.fromkeys((*after, *before))
        if before.get(field) != after.get(field)
    ]
    spec = f"metadata.{SPEC}"
    return tuple(change for change in changes if change.field != spec) or tuple(changes)


def same_image(wanted: str, machine: Machine) -> bool:
    """Whether it runs that image: by digest where both have one, else by name and tag."""
    name, _, digest = wanted.partition("@")
    live_name, _, live_digest = machine.image.partition("@")
    if digest and live_digest:
        return digest == live_digest and _repository(name) == _repository(live_name)
    return not digest and _tagged(name) == _tagged(live_name)


def _repository(name: str) -> str:
    head, _, last = name.rpartition("/")
    return f"{head}/{last.partition(':')[0]}"


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _fields(config: Mapping[str, Any]) -> dict[str, str]:
    """Path to text, of everything we own but the image."""

    def part(key: str) -> Mapping[str, Any]:
        value = config.get(key)
        return value if isinstance(value, dict) else {}

    metadata = part("metadata")
    command = part("init").get("cmd")
    fields = {
        "schedule": config.get("schedule"),
        "command": shlex.join(map(str, command)) if isinstance(command, list) else None,
        "entrypoint": part("init").get("entrypoint") or part("init").get("exec"),
        **{f"guest.{key}": part("guest").get(key) for key in ("cpu_kind", "cpus", "memory_mb")},
        "restart": part("restart").get("policy"),
        "auto_destroy": bool(config.get("auto_destroy")),
        "stop_signal": part("stop_config").get("signal"),
        "dns.skip_registration": bool(part("dns").get("skip_registration")),
        "services": config.get("services") or None,
        **{f"env.{key}": value for key, value in sorted(part("env").items())},
        **{f"metadata.{key}": metadata.get(key) for key in
           (OWNER[0], SCHEDULE, "fly_process_group", "fly_platform_version", SPEC)},
    }  # fmt: skip
    return {field: str(value) for field, value in fields.items() if value is not None}


def _shown(field: str, old: str | None, new: str | None) -> FieldChange:
    def show(value: str | None) -> str:
        if value is None:
            return MISSING
        return _MASK if field.startswith("env.") and _hidden(field[4:], value) else value

    return FieldChange(field, show(old), show(new))


def _hidden(variable: str, value: str) -> bool:
    """Also what carries a password inside an address."""
    return looks_secret(variable) or ("://" in value and "@" in value)
