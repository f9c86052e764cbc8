"""One machine of the loopback Fly, and what happens to it."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

PERIODS = {"hourly": 3600, "daily": 86_400, "weekly": 7 * 86_400, "monthly": 30 * 86_400}
EVENTS_KEPT = 50
DEFAULT_GUEST = {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256}


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """How one run of a machine's command goes."""

    exit_code: int = 0
    seconds: float = 2.0
    oom_killed: bool = False
    ends_in: float = 0.0
    """Seconds that it takes to end once it is asked to."""


@dataclass(slots=True)
class FlyMachine:
    """Its state. Times are seconds since 1970."""

    id: str
    name: str
    region: str
    config: dict[str, Any]
    version: str
    created_at: float
    updated_at: float
    state: str = "created"
    host_status: str = "ok"
    events: list[dict[str, Any]] = field(default_factory=list)
    lease: dict[str, Any] | None = None
    runs_until: float | None = None
    outcome: CommandOutcome = field(default_factory=CommandOutcome)
    stopped_at: float | None = None
    """When a run that was asked to end has ended: until then the state is ``stopping``."""
    phase: float | None = None
    """When it was first launched: its ticks come at this, and every period after."""
    silenced: bool = False
    """Made or updated with skip_launch: its schedule never fires, and nothing says so."""
    replaced_at: float | None = None
    """When an update that is under way is done: until then the state is ``replacing``."""
    taken_back: tuple[float, dict[str, Any], str] | None = None
    """When, and to which config and version, the last update is taken back."""
    killed: int = 0
    """Runs that an update or a forced delete ended."""
    runs: int = 0

    def add_event(self, now: float, kind: str, status: str, source: str, **request: Any) -> None:
        event = {
            "id": f"01E{hashlib.sha1(f'{self.id}{now}{kind}{len(self.events)}{self.runs}'.encode()).hexdigest()[:23].upper()}",  # noqa: S324, E501
            "type": kind,
            "status": status,
            "source": source,
            "timestamp": int(now * 1000),
        }
        self.events.insert(0, {**event, **({"request": request} if request else {})})
        del self.events[EVENTS_KEPT:]

    def start(self, now: float, outcome: CommandOutcome, source: str = "flyd") -> None:
        self.state, self.outcome, self.runs_until = "started", outcome, now + outcome.seconds
        self.runs += 1
        self.add_event(now, "start", "started", source)

    def settle(self, now: float) -> None:
        """Lets a run that is over be over, and updates take effect or be taken back."""
        if self.taken_back is not None and self.taken_back[0] <= now:
            _, self.config, self.version = self.taken_back
            self.taken_back = None
        if self.state == "replacing" and (self.replaced_at is None or self.replaced_at <= now):
            self.state, self.replaced_at = "stopped", None
        if self.state == "stopping" and self.stopped_at is not None and self.stopped_at <= now:
            patience, late = self.stop_timeout, self.outcome.ends_in > self.stop_timeout
            ended = CommandOutcome(exit_code=137 if late else 143, seconds=patience)
            self.stop(self.stopped_at, ended, requested=True)
        if self.state == "started" and self.runs_until is not None and self.runs_until <= now:
            self.stop(self.runs_until, self.outcome, requested=False)

    @property
    def changes_at(self) -> float | None:
        """When its state next changes by itself, as far as that is known."""
        known = (
            self.runs_until,
            self.stopped_at,
            self.replaced_at,
            self.taken_back and self.taken_back[0],
        )
        return min((moment for moment in known if moment is not None), default=None)

    @property
    def stop_timeout(self) -> float:
        """Seconds after which a run that was asked to end is killed: its ``stop_config``'s, or
        Fly's five."""
        text = str(self.config.get("stop_config", {}).get("timeout", "5s"))
        return float(text.removesuffix("s"))

    def ask_to_stop(self, now: float) -> None:
        """Its run ends when it has done what it must, and at the latest when its time is over."""
        self.state, self.runs_until = "stopping", None
        self.stopped_at = now + min(self.outcome.ends_in, self.stop_timeout)
        self.settle(now)

    def stop(self, now: float, outcome: CommandOutcome, *, requested: bool) -> None:
        self.state, self.runs_until, self.stopped_at = "stopped", None, None
        exit_event = {
            "exit_code": outcome.exit_code,
            "oom_killed": outcome.oom_killed,
            "requested_stop": requested,
            "restarting": False,
            "guest_exit_code": 0 if outcome.oom_killed else outcome.exit_code,
            "exited_at": int(now * 1000),
        }
        self.add_event(now, "exit", "stopped", "flyd", exit_event=exit_event)

    def document(self, *, with_events: bool = True) -> dict[str, Any]:
        """As the API shows it: with defaults nobody asked for."""
        image, _, digest = str(self.config.get("image", "")).partition("@")
        registry, _, rest = image.partition("/")
        repository, _, tag = rest.partition(":")
        config = copy.deepcopy(self.config) | {"guest": self._guest()}
        config.setdefault("restart", {"policy": "on-failure", "max_retries": 10})
        config.setdefault("init", {})
        shown = {
            "id": self.id, "name": self.name, "state": self.state, "region": self.region,
            "instance_id": self.version, "version": self.version, "private_ip": "fdaa::1",
            "created_at": _iso(self.created_at), "updated_at": _iso(self.updated_at),
            "host_status": self.host_status,
            "image_ref": {"registry": registry, "repository": repository, "tag": tag or "latest",
                          "digest": digest or digest_of(image)},
            "events": self.events[:20] if with_events else [],
        }  # fmt: skip
        if self.host_status == "ok":
            return {**shown, "config": config}
        if self.host_status == "unreachable":
            return shown
        return {**shown, "incomplete_config": {"metadata": config.get("metadata", {})}}

    def _guest(self) -> dict[str, Any]:
        return {**DEFAULT_GUEST, "kernel_args": [], **self.config.get("guest", {})}


def digest_of(image: str) -> str:
    """The digest the registry has for a tag."""
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
