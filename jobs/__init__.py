"""The jobs. Each module decides what one of them sends; none sends or writes by itself.

What is declared here is all that the command line, schedules and the run service know of a job
before it runs: importing this package imports none of them.
"""

from __future__ import annotations

from speakerbot.domain.job_registry import JobDeclaration, JobOption, JobRegistry
from speakerbot.domain.reminder_offsets import short_windows

JOBS = JobRegistry(
    JobDeclaration(
        "reminders",
        "jobs.reminders",
        "Remind speakers of their talks.",
        opt_out="reminders",
        asks_speakers=True,
        keeps_clear_of_node_bot=True,
        short_windows=short_windows,
    ),
    JobDeclaration(
        "changes",
        "jobs.changes",
        "Tell speakers that their talk was booked, moved or cancelled.",
        opt_out="changes",
    ),
    JobDeclaration(
        "weekly",
        "jobs.weekly",
        "Post the coming week's talks; bring the post up to date.",
        posts_to="announcements",
        own_options=(
            JobOption(
                "--edit-only",
                "edit_only",
                "Update what was posted, post no first one (SPEAKERBOT_WEEKLY_MODE=edit).",
            ),
        ),
    ),
    JobDeclaration(
        "engagement",
        "jobs.engagement",
        "Ask for speakers when no talk is coming.",
        posts_to="announcements",
    ),
    JobDeclaration(
        "digest",
        "jobs.digest",
        "Tell the organisers what was sent and what is coming.",
        posts_to="organisers",
    ),
    JobDeclaration(
        "starting",
        "jobs.starting",
        "Announce each talk some minutes before it starts.",
        posts_to="announcements",
        timed=True,
    ),
    JobDeclaration(
        "events",
        "jobs.events",
        "Keep the server's events equal to the coming talks.",
        posts_to="server",
    ),
)
