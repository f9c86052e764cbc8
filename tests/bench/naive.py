"""The usual way, as a peer: discord.py, and for each message fetch the user, open the DM, send,
one after another. Prints seconds as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

import discord
from discord.http import Route

from tests.bench.blast import FIRST_USER


async def run(base: str, count: int) -> float:
    Route.BASE = base
    discord.VoiceClient.warn_nacl = False
    client = discord.Client(intents=discord.Intents.none())
    started = time.perf_counter()
    await client.login("bench")
    for number in range(count):
        user = await client.fetch_user(FIRST_USER + number)
        await user.send("Hi! This is a reminder that you're speaking today.")
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
