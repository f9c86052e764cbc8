"""A machine as Fly lists it, and the machine a schedule wants. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobs import JOBS
from speakerbot.schedules.schedule import Schedule

OWNER = ("managed_by", "speakerbot")
SCHEDULE = "speakerbot_schedule"
SPEC = "speakerbot_spec"
GONE = frozenset({"destroyed", "destroying"})
AT_REST = frozenset({"stopped", "suspended", "failed"})
"""States in which no job runs; in any other an update or a delete would kill one."""
RUNNING = frozenset({"started", "starting"})
CHANGING = frozenset(
    {"created", "creating", "replacing", "updating", "restarting", "stopping", "suspending"}
)
"""States that pass by themselves: Fly is doing something to the machine."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What Fly said of one machine, as far as we look at it."""

    id: str
    name: str
    state: str
    region: str
    version: str
    config: Mapping[str, Any]
    digest: str
    """Of the image it runs; empty if Fly did not say."""
    host_status: str
    created_at: str
    events: tuple[Mapping[str, Any], ...]

    @property
    def metadata(self) -> Mapping[str, Any]:
        metadata = self.config.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    @property
    def owned(self) -> bool:
        """Ours by its metadata: everything else is never touched."""
        return self.metadata.get(OWNER[0]) == OWNER[1] and SCHEDULE in self.metadata

    @property
    def schedule(self) -> str:
        return str(self.metadata.get(SCHEDULE, ""))

    @property
    def at_rest(self) -> bool:
        return self.state in AT_REST

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def changing(self) -> bool:
        return self.state in CHANGING

    @property
    def reachable(self) -> bool:
        return self.host_status == "ok"

    @property
    def timed(self) -> bool:
        """It runs a job declared ``timed``: one that may stay for days, and that loses nothing by
        being asked to end."""
        init = self.config.get("init")
        command = init.get("cmd") if isinstance(init, dict) else None
        match command:
            case ["run", str(job), *_] if job in JOBS:
                return JOBS[job].timed
        return False

    def with_events(self, events: Iterable[Mapping[str, Any]]) -> Machine:
        return replace(self, events=tuple(events))

    @property
    def image(self) -> str:
        """By digest where Fly named one."""
        image = str(self.config.get("image", ""))
        return image if "@" in image or not self.digest else f"{image}@{self.digest}"


def read_machine(raw: object) -> Machine:
    """One machine of an answer. Raises ValueError naming what it lacks."""
    if not isinstance(raw, dict):
        raise ValueError("a machine that is not an object")
    for key in ("id", "name", "state", "region"):
        if not isinstance(raw.get(key), str) or not raw[key]:
            raise ValueError(f"a machine without {key}")
    if not raw["id"].isalnum():  # it becomes part of an address
        raise ValueError(f"a machine with the invalid id {raw['id']!r}")
    config = raw.get("config") or raw.get("incomplete_config") or {}
    image_ref = raw.get("image_ref") or {}
    events = raw.get("events") or []
    if not all(isinstance(part, kind) for part, kind in
               ((config, dict), (image_ref, dict), (events, list))):  # fmt: skip
        raise ValueError(f"machine {raw['id']} with an invalid config, image_ref or events")
    return Machine(
        id=raw["id"],
        name=raw["name"],
        state=raw["state"],
        region=raw["region"],
        version=str(raw.get("version") or raw.get("instance_id") or ""),
        config=config,
        digest=str(image_ref.get("digest") or ""),
        host_status=str(raw.get("host_status") or "ok"),
        created_at=str(raw.get("created_at") or ""),
        events=tuple(event for event in events if isinstance(event, dict)),
    )


@dataclass(frozen=True, slots=True)
class WantedMachine:
    """The machine there should be. ``config`` is what Fly is sent, whole."""

    name: str
    schedule: Schedule
    region: str
    config: Mapping[str, Any]

    def with_image(self, image: str) -> WantedMachine:
        return replace(self, config={"image": image, **self.config})

    def keeping(self, machine: Machine) -> WantedMachine:
        """With the volumes somebody attached by hand: an update that left them out would lose
        them."""
        mounts = machine.config.get("mounts")
        return replace(self, config={**self.config, "mounts": mounts}) if mounts else self


def wanted_machines(
    schedules: Iterable[Schedule], env: Mapping[str, str]
) -> Iterator[WantedMachine]:
    """Every machine that should be, in the order of the file. ``env``: fly.toml's, which scheduled
    machines do not get by themselves; a schedule's own variables win."""
    for schedule in schedules:
        config = _config(schedule, env)
        for name, region in zip(schedule.machine_names, schedule.regions, strict=True):
            yield WantedMachine(name, schedule, region, config)


def _config(schedule: Schedule, env: Mapping[str, str]) -> dict[str, Any]:
    """All but the image. Never ``skip_launch``: the schedule would never fire."""
    guest = schedule.guest
    config: dict[str, Any] = {
        "init": {"cmd": schedule.command()},
        "env": {**env, **schedule.env},
        "guest": {
            "cpu_kind": guest.cpu_kind, "cpus": guest.cpus, "memory_mb": guest.memory_mb
        },
        "restart": {"policy": "no"},  # Fly's default repeats a failed run ten times
        "auto_destroy": False,
        "stop_config": {"signal": "SIGTERM", "timeout": "30s"},
        "dns": {"skip_registration": True},
    }  # fmt: skip
    if schedule.enabled:
        config["schedule"] = schedule.interval
    else:  # creating a machine launches it once: that run must do nothing either
        config["env"]["SPEAKERBOT_ENABLED"] = "false"
    return config | {"metadata": _metadata(schedule, config)}


def _metadata(schedule: Schedule, config: Mapping[str, Any]) -> dict[str, str]:
    """``fly_platform_version`` is left out: with it `fly deploy` would take the machine over."""
    spec = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return {
        OWNER[0]: OWNER[1],
        SCHEDULE: schedule.name,
        SPEC: spec[:16],
        "fly_process_group": "speakerbot_cron",
    }
