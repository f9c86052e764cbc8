"""``python -m speakerbot.testing.fly --port N``: a loopback Fly to plan, apply and watch against.

Prints the environment that leads there. Time passes as usual, or ``--speed`` times as fast, and
schedules fire.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from datetime import UTC, datetime

from speakerbot.testing.fly.clock import FakeTime
from speakerbot.testing.fly.commands import RealCommand
from speakerbot.testing.fly.server import serve
from speakerbot.testing.fly.world import FlyWorld


class RunningTime(FakeTime):
    """Time that passes by itself, ``speed`` times as fast as ours."""

    def __init__(self, speed: float) -> None:
        super().__init__(datetime.now(UTC))
        self.speed = speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds / self.speed, 0.05))


def world_from(arguments: argparse.Namespace) -> FlyWorld:
    """The world that the command line describes: it has one machine, the web process's."""
    world = FlyWorld(app=arguments.app, time=RunningTime(arguments.speed))
    world.tokens[arguments.token] = arguments.app
    image = f"registry.fly.io/{arguments.app}:web"
    world.create("web", "iad", {"image": image, "metadata": {"fly_process_group": "app"}})
    if arguments.run:
        world.run = RealCommand(shlex.split(arguments.run), app=arguments.app)
    return world


async def main(arguments: argparse.Namespace) -> None:
    """Serves until it is interrupted."""
    world = world_from(arguments)
    async with serve(world, port=arguments.port) as base:
        lines = (f"FLY_FLAPS_BASE_URL={base}", f"FLY_API_TOKEN={arguments.token}",
                 f"FLY_APP={arguments.app}",
                 f"FLY_ACCESS_TOKEN={arguments.token}",  # wins over anybody's own token
                 f"FLY_REGISTRY_HOST={base.removeprefix('http://')}")  # fmt: skip
        sys.stdout.write("\n".join(f"export {line}" for line in lines) + "\n")
        sys.stdout.flush()
        while True:
            await asyncio.sleep(0.2)
            world.pass_time(0.2 * arguments.speed)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m speakerbot.testing.fly", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument("--app", default="community")
    parser.add_argument("--token", default="loopback-token")
    parser.add_argument("--speed", type=float, default=1.0, help="3600: an hour a second")
    parser.add_argument("--run", metavar="COMMAND", help="really run machines with this entrypoint")
    return parser.parse_args(argv)


if __name__ == "__main__":
    try:
        asyncio.run(main(arguments()))
    except KeyboardInterrupt:
        sys.exit(0)
