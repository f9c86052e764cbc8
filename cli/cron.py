"""``speakerbot cron``: the reconciler's own commands, and what only the store can tell them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from deploy.deploy_cron import app

__all__ = ["app"]


def last_looks(schedules: Iterable[str]) -> dict[str, datetime]:
    """When a run of each of these schedules of timed jobs last looked. Only a MongoDB can be the
    store of Fly's machines and be reached from here; often only they know its address. Then, and
    where it does not answer, it is empty."""
    from cli.open_store import to_read
    from speakerbot import logs
    from speakerbot.config import load
    from speakerbot.errors import SpeakerbotError
    from speakerbot.runs.timed_jobs import last_look

    try:
        if not load().database_url.startswith("mongodb"):
            return {}
        with to_read() as (store, _):
            found = {name: last_look(store, name) for name in schedules}
    except SpeakerbotError as error:
        logs.get_logger().warning("looks_unknown", error=str(error))
        return {}
    return {name: at for name, at in found.items() if at is not None}


app.info.context_settings = {"obj": last_looks}
