"""``python -m speakerbot.testing.discord``: the loopback Discord alone, until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from speakerbot.testing.discord.server import LoopbackDiscord
from speakerbot.testing.discord.settings import Bucket, LoopbackSettings


def main(
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    latency: Annotated[float, typer.Option(help="Milliseconds from request to answer.")] = 0,
    jitter: Annotated[float, typer.Option(help="Milliseconds more or less than that.")] = 0,
    global_limit: Annotated[int, typer.Option(help="Requests in any second; 0: no limit.")] = 50,
    message_limit: Annotated[int, typer.Option(help="Per channel in 5 s; 0: no limit.")] = 5,
    nonce_window: Annotated[float, typer.Option(help="Seconds a nonce is remembered.")] = 180,
    history_nonces: Annotated[
        bool, typer.Option(help="Show nonces of messages read back.")
    ] = False,
    strict: Annotated[bool, typer.Option(help="Unknown users and channels do not exist.")] = False,
    token: Annotated[str | None, typer.Option(help="Refuse every other token.")] = None,
    clock_shift: Annotated[
        float, typer.Option(help="Seconds its clock (Date header, ids) is ahead of this machine's.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of jitter and of faults with a probability.")] = 0,
    record: Annotated[Path | None, typer.Option(help="Append every record to this file.")] = None,
) -> None:
    """A Discord on this machine: nothing leaves it.

    Prints the base URL (DISCORD_API_BASE) as soon as it answers there.

    What goes wrong is injected while it runs, by LoopbackClient.inject or as a list in JSON:
    POST /_loopback/faults [{"kind": "error", "status": 403, "code": 50278, "on": "create_dm"}].
    Kinds: error (any status with any code and message), html, rate_limit (any retry_after, null
    for none), reset, lost_response, hang. Bodies: json, html, empty, truncated, cut_off.
    DELETE /_loopback/faults clears them.
    """
    settings = LoopbackSettings(
        latency=latency / 1000,
        jitter=jitter / 1000,
        global_limit=global_limit or None,
        message_bucket=Bucket(message_limit, 5.0) if message_limit else None,
        nonce_window=nonce_window,
        history_nonces=history_nonces,
        strict=strict,
        token=token,
        clock_shift=clock_shift,
        seed=seed,
    )
    try:
        asyncio.run(_serve(LoopbackDiscord(settings, port=port, record=record)))
    except OSError as error:
        typer.echo(f"The loopback Discord cannot start: {error}", err=True)
        raise typer.Exit(1) from error


async def _serve(discord: LoopbackDiscord) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with discord:
        typer.echo(discord.base_url)
        await stop.wait()


if __name__ == "__main__":
    typer.run(main)
