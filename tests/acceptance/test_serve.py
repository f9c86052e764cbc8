"""`speakerbot serve` as an operator meets it: health over HTTP, and an end when it is asked for."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.serve import StoreHealth
from speakerbot.errors import Unreachable
from tests.acceptance.conftest import Cli

DOWN = "mongodb://127.0.0.1:9/none?serverSelectionTimeoutMS=300"


@contextmanager
def serving(cli: Cli, *args: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    cli.env |= env
    with cli.start("--log-format", "json", "serve", *args) as process:
        try:
            assert process.stderr
            line = json.loads(process.stderr.readline())
            assert line["event"] == "serving", line
            yield process, line["port"]
        finally:
            process.kill()


def ask(port: int, method: str = "GET", path: str = "/health") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.getheader("Content-Type") == "application/json"
    return response.status, body


def test_health_is_well_while_the_store_can_be_reached(cli: Cli, samples: Path) -> None:
    with serving(cli, "--port", "0") as (_, port):
        assert ask(port) == (200, b'{"status": "ok"}\n')
        assert ask(port, "HEAD") == (200, b"")
        assert ask(port, path="/health?x=1")[0] == 200
        assert ask(port, path="/")[0] == 404
        status, body = ask(port, "POST")
        assert (status, json.loads(body)) == (501, {"error": "Unsupported method ('POST')"})
        damaged = samples.with_name("damaged")
        damaged.write_bytes(b"this is not a database" * 100)
        shutil.move(damaged, samples)
        time.sleep(1.1)
        status, body = ask(port)
        assert status == 503
        assert str(samples) in json.loads(body)["reason"]
        assert ask(port, "HEAD") == (503, b"")


def test_it_stays_up_while_the_store_is_down(cli: Cli) -> None:
    with serving(cli, "--port", "0", DATABASE_URL=DOWN) as (process, port):
        for _ in range(2):
            status, body = ask(port)
            assert (status, json.loads(body)["status"]) == (503, "unavailable")
            assert "127.0.0.1:9" in json.loads(body)["reason"]
            time.sleep(1.1)
        assert process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_whoever_is_connected(cli: Cli, number: int) -> None:
    with (
        serving(cli, "--port", "0") as (process, port),
        socket.create_connection(("127.0.0.1", port)) as silent,
    ):
        silent.sendall(b"GET /health HTTP/1.1\r\n")
        ask(port)
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 2


def test_the_port_comes_from_the_environment_and_from_env_files(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    cli.file("settings", f"PORT={port}\n")
    with serving(cli, SPEAKERBOT_ENV_FILE="settings") as (_, served):
        assert served == port
        error = cli.error("serve", exit_code=78, PORT=str(port))
        assert re.search(f"cannot listen on 0.0.0.0:{port}: .*in use", error)
    assert "PORT: 'x' is not a port" in cli.error("serve", exit_code=78, PORT="x")


def test_a_store_that_this_machine_would_lose_is_refused(cli: Cli) -> None:
    error = cli.error("serve", exit_code=78, FLY_MACHINE_ID="1")
    assert "not kept between runs" in error


def test_a_store_that_hangs_is_out_of_reach_and_asked_once() -> None:
    free, looks = threading.Event(), []

    def look() -> None:
        looks.append(1)
        free.wait(10)

    health = StoreHealth(look, patience=0.05, fresh=0)
    assert health.problem() == "the store has not answered for 0.05 s"
    assert health.problem() is not None
    assert len(looks) == 1
    free.set()
    time.sleep(0.2)
    assert health.problem() is None


def test_many_requests_look_at_the_store_once() -> None:
    looks = []

    def look() -> None:
        looks.append(1)
        raise Unreachable("no")

    health = StoreHealth(look, fresh=60)
    assert {health.problem() for _ in range(20)} == {"no"}
    assert len(looks) == 1


def test_a_database_that_does_not_answer_delays_neither_health_nor_the_end(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mongodb://me:hush@127.0.0.1:{silent.getsockname()[1]}/talks"
        with serving(cli, "--port", "0", DATABASE_URL=url) as (process, port):
            began = time.monotonic()
            status, body = ask(port)
            assert time.monotonic() - began < 5, "fly.toml waits so long"
            assert status == 503
            assert b"hush" not in body
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0


def test_a_broken_request_gets_json_too(cli: Cli, samples: Path) -> None:
    with (
        serving(cli, "--port", "0") as (_, port),
        socket.create_connection(("127.0.0.1", port), timeout=20) as line,
    ):
        line.sendall(b'B"AD / HTTP/1.1\r\nHost: x\r\n\r\n')
        answer = line.makefile("rb").read().decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.split()[1] == "501"
    assert "error" in json.loads(body)
