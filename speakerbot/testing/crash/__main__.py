"""``python -m speakerbot.testing.crash``: plays schedules until one breaks the promise."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from speakerbot.testing.crash.changes import ChangesWorld
from speakerbot.testing.crash.playing import Arena
from speakerbot.testing.crash.posts import DigestWorld, EngagementWorld, WeeklyWorld
from speakerbot.testing.crash.reminders import RemindersWorld
from speakerbot.testing.crash.schedules import of_seed, read
from speakerbot.testing.crash.world import WorldOf

WORLDS: dict[str, WorldOf] = {
    "reminders": RemindersWorld,
    "weekly": WeeklyWorld,
    "engagement": EngagementWorld,
    "digest": DigestWorld,
    "changes": ChangesWorld,
}
REPLAY = "python -m speakerbot.testing.crash --schedule"


def main(
    seed: Annotated[int, typer.Option(help="Of the first schedule.")] = 0,
    schedules: Annotated[int, typer.Option(help="How many, from that seed on.")] = 1,
    schedule: Annotated[
        str | None, typer.Option(help="Exactly this one, as it was printed.")
    ] = None,
    job: Annotated[str, typer.Option(help=f"One of {', '.join(WORLDS)}.")] = "reminders",
    mongodb: Annotated[str | None, typer.Option(help="A server, instead of SQLite files.")] = None,
) -> None:
    """Kills runs of a job wherever they can die, and looks what came of it."""
    chosen = [read(schedule)] if schedule else map(of_seed, range(seed, seed + schedules))
    with (
        tempfile.TemporaryDirectory() as folder,
        Arena(WORLDS[job], Path(folder), mongodb) as arena,
    ):
        held = 0
        for each in chosen:
            played = arena.play(each)
            if schedule or schedules == 1 or played.problems:
                typer.echo(played.text())
            if played.problems:
                where = f" --mongodb {mongodb}" if mongodb else ""
                typer.echo(f"Broken. Again: {REPLAY} '{each.text()}' --job {job}{where}")
                raise typer.Exit(1)
            held += 1
    typer.echo(f"{held} held.")


if __name__ == "__main__":
    typer.run(main)
