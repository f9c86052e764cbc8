"""``speakerbot serve``: says over HTTP whether the store can be reached. The machine that answers
``/health`` must be there before the web process itself is."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any, Optional
from urllib.parse import urlsplit

import typer

from speakerbot import bootstrap
from speakerbot.config import environment, load
from speakerbot.errors import ConfigError, SpeakerbotError
from speakerbot.logs import get_logger

app = typer.Typer(add_completion=False)

PATIENCE = 4.0
"""Seconds to wait for the store: below the 5 s that fly.toml gives the check."""
FRESH = 1.0
"""Seconds for which one look at the store answers every request."""
SILENT_CLIENT = 10.0
"""Seconds after which a connection on which nothing comes is closed."""


@app.command(epilog="Example: speakerbot serve --port 3000")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 - Fly's proxy comes from outside
    port: Annotated[
        Optional[int],  # noqa: UP045 - typer evaluates it
        typer.Option(min=0, max=65535, help="Default: PORT, else 3000. 0 takes a free one."),
    ] = None,
) -> None:
    """Answer GET /health: 200 if the store can be reached, else 503 with the reason.

    Stays up while the store is down; ends on SIGTERM and Ctrl-C.
    """
    settings = load()
    bootstrap.check_store_address(settings)
    health = StoreHealth(lambda: bootstrap.store(settings, read_only=True).close())
    server = _listen(host, _port_of(environment()) if port is None else port, health)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    get_logger().info("serving", host=host, port=server.server_port)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


class StoreHealth:
    """Whether the store can be reached. ``look`` raises what keeps it from that; one thread at a
    time looks, however many ask."""

    def __init__(
        self, look: Callable[[], None], *, patience: float = PATIENCE, fresh: float = FRESH
    ) -> None:
        self._look, self._patience, self._fresh = look, patience, fresh
        self._lock = threading.Lock()
        self._latest: _Look | None = None
        self._was_well = True

    def problem(self) -> str | None:
        """Why it cannot be reached; None if it can. Returns within ``patience`` seconds."""
        with self._lock:
            look = self._latest
            if look is None or look.is_older_than(self._fresh):
                look = self._latest = _Look(self._look)
                look.start()
        look.join(self._patience)
        problem = look.problem
        if look.is_alive():
            problem = f"the store has not answered for {self._patience:g} s"
        self._note(problem)
        return problem

    def _note(self, problem: str | None) -> None:
        """Logs changes only: checks come every few seconds."""
        with self._lock:
            changed, self._was_well = self._was_well != (problem is None), problem is None
        if changed and problem is None:
            get_logger().info("store_reached_again")
        elif changed:
            get_logger().warning("store_out_of_reach", error=problem)


class _Look(threading.Thread):
    """One attempt to reach the store. A daemon: a store that hangs does not hold up the end."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__(name="look at the store", daemon=True)
        self._look = look
        self._ended_at: float | None = None
        self.problem: str | None = None

    def run(self) -> None:
        try:
            self._look()
        except SpeakerbotError as error:
            self.problem = str(error)
        except Exception as error:
            # What it says may hold an address or a password: it goes into the log alone.
            get_logger().error("store_look_failed", error=repr(error))
            self.problem = f"unexpected {type(error).__name__} (a bug): the log says more"
        self._ended_at = time.monotonic()

    def is_older_than(self, seconds: float) -> bool:
        return self._ended_at is not None and time.monotonic() - self._ended_at > seconds


class HealthServer(ThreadingHTTPServer):
    """Answers until ``shutdown`` is called, and then waits for no client."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], health: StoreHealth) -> None:
        self.health = health
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that hangs up is not an error."""
        get_logger().debug("request_broken", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: HealthServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "speakerbot", ""
    timeout = SILENT_CLIENT

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What http.server itself refuses: other methods, broken requests."""
        self.close_connection = True
        self._answer(code, {"error": message or self.responses[HTTPStatus(code)][0]})

    def do_GET(self) -> None:
        if urlsplit(self.path).path != "/health":
            self._answer(404, {"error": "there is only /health"})
        elif (problem := self.server.health.problem()) is None:
            self._answer(200, {"status": "ok"})
        else:
            self._answer(503, {"status": "unavailable", "reason": problem})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, document: dict[str, str]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        get_logger().debug("request_answered", request=format % args)


def _port_of(variables: dict[str, str]) -> int:
    text = variables.get("PORT", "").strip() or "3000"
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ConfigError(f"PORT: {text!r} is not a port; write a number up to 65535, e.g. 3000")
    return int(text)


def _listen(host: str, port: int, health: StoreHealth) -> HealthServer:
    try:
        return HealthServer((host, port), health)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another with "
            "--host and --port"
        ) from error
