"""``speakerbot cron``: the reconciler's own commands."""

from __future__ import annotations

from deploy.deploy_cron import app

__all__ = ["app"]
