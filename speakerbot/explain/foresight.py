"""What will happen to a message that has not gone yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from speakerbot.delivery.planning import MessagePlan
from speakerbot.domain.delivery import SkipReason
from speakerbot.explain import words
from speakerbot.preview import Coming, Preview
from speakerbot.runs.job import Job

HORIZON = timedelta(days=15)
"""How far the coming runs are simulated. Of what is due later, only that is told."""


@dataclass(frozen=True)
class Foresight:
    """The coming runs, simulated when they are first asked for."""

    preview: Preview

    @cached_property
    def comings(self) -> dict[str, Coming]:
        """What goes out within the horizon, by key; also what fails because its text cannot be
        made."""
        comings: dict[str, Coming] = {}
        for coming in self.preview.until(self.preview.now + HORIZON):
            comings.setdefault(coming.outcome.message.key, coming)
        return comings

    def of(self, job: Job, plan: MessagePlan) -> str:
        """Of a message that is not among ``comings``; ``plan`` is made for when it is due."""
        message, now = plan.message, self.preview.now
        if not self.preview.settings.runs(job.name):
            return f"nothing: {job.name} is switched off by the settings"
        if plan.skip == SkipReason.OPTED_OUT or (plan.skip and plan.until is None):
            return f"nothing: {plan.reason}"
        own = [schedule for schedule, each in self.preview.schedules if each.name == job.name]
        serving = [schedule.name for schedule in own if schedule.enabled]
        obstacles = [name for name in serving if name in self.preview.obstacles]
        if serving and len(obstacles) == len(serving):
            return f"nothing: {self.preview.obstacles[obstacles[0]]}"
        since = max(now, message.due_at, plan.until or now)
        if serving and since < min(message.expires_at, now + HORIZON):
            return "nothing: no run of its schedule comes in time"
        by = "" if serving else f"; no schedule runs {job.name}"
        return f"goes out with the first run of {job.name} from {words.utc(since)} on{by}"
