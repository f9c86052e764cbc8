"""A floor for throughput: discord.py with 16 workers and known DM channels, and nothing else: no
store, no pacing, no log. What it loses in a crash is lost. Prints seconds as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

import discord
from discord.http import Route

from tests.bench.blast import FIRST_DM

WORKERS = 16


async def run(base: str, count: int) -> float:
    Route.BASE = base
    client = discord.Client(intents=discord.Intents.none())
    await client.login("bench")
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            channel = client.get_partial_messageable(FIRST_DM + number)
            await channel.send("Hi! This is a reminder that you're speaking today.")
            if number % 200 == 0:
                client.http._buckets.clear()  # its bookkeeping is quadratic beyond 256 channels

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(WORKERS)))
    seconds = time.perf_counter() - started
    await client.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    seconds = asyncio.run(run(options.base, options.count))
    sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
