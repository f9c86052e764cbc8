"""A `fly` for the PATH, whose commands act on a :class:`FlyWorld` as Fly's own act on Fly.

It knows the commands that our runbook and `cron deploy` use, with their options, and no others.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

from speakerbot.testing.fly import FlyWorld

DEPLOY_TOKEN = "fm2_of_the_deploy"

_SCRIPT = """#!{python}
import json, os, sys, urllib.request
call = {{"words": sys.argv[1:], "env": dict(os.environ), "folder": os.getcwd()}}
with urllib.request.urlopen("{address}", json.dumps(call).encode()) as answer:
    document = json.load(answer)
sys.stdout.write(document["stdout"])
sys.stderr.write(document["stderr"])
sys.exit(document["code"])
"""


class FlyFailed(Exception):
    """What `fly` says before it exits with 1."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlyFailed(f"Error: {self.prog}: {message}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fly")
    groups = parser.add_subparsers(dest="group", required=True)
    create = _below(groups, "apps", "create")
    create.add_argument("name")
    secrets = _below(groups, "secrets", "set")
    secrets.add_argument("--app", "-a", required=True)
    secrets.add_argument("pairs", nargs="+")
    token = _below(groups, "tokens", "create")
    token.add_argument("kind", choices=["deploy"])
    token.add_argument("--app", "-a", required=True)
    deploy = groups.add_parser("deploy")
    deploy.add_argument("--app", "-a", required=True)
    deploy.add_argument("--config", "-c", required=True)
    deploy.add_argument("--image-label", required=True)
    for flag in ("--build-only", "--push"):
        deploy.add_argument(flag, action="store_true", required=True)
    return parser


def _below(groups: Any, group: str, command: str) -> argparse.ArgumentParser:
    commands = groups.add_parser(group).add_subparsers(dest="command", required=True)
    parser: argparse.ArgumentParser = commands.add_parser(command)
    return parser


@dataclass
class FlyStub:
    """Whoever runs `fly` is logged in; `deploy` also takes a token from the environment."""

    world: FlyWorld
    registry: str
    secrets: dict[str, str] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    fails: str = ""
    """What every command fails with, if anything."""

    def run(self, words: list[str], env: Mapping[str, str], folder: Path) -> str:
        """Returns what it prints; raises FlyFailed."""
        self.calls.append(words)
        if self.fails:
            raise FlyFailed(self.fails)
        given = _parser().parse_args(words)
        if given.group == "apps":
            self.world.app = given.name
            return f"New app created: {given.name}\n"
        if given.app != self.world.app:
            raise FlyFailed(f"Error: Could not find App {given.app!r}")
        if given.group == "secrets":
            self.secrets |= dict(pair.split("=", 1) for pair in given.pairs)
            return "Secrets are staged for the first deployment\n"
        if given.group == "tokens":
            self.world.tokens[DEPLOY_TOKEN] = self.world.app
            return f"FlyV1 {DEPLOY_TOKEN}\n"
        return self._deploy(given, env, folder)

    def _deploy(self, given: argparse.Namespace, env: Mapping[str, str], folder: Path) -> str:
        token = env.get("FLY_ACCESS_TOKEN") or env.get("FLY_API_TOKEN") or ""
        if token and self.world.tokens.get(token.removeprefix("FlyV1 ")) != given.app:
            raise FlyFailed("Error: unauthorized")
        config = tomllib.loads((folder / given.config).read_text("utf-8"))
        if not (folder / config["build"]["dockerfile"]).is_file():
            raise FlyFailed("Error: dockerfile not found")
        assert self.world.images is not None
        self.world.images.add(f"{self.registry}/{given.app}:{given.image_label}")
        return "image pushed\n"


@contextmanager
def on_path(stub: FlyStub, folder: Path) -> Iterator[None]:
    """A `fly` in ``folder``, which works until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                printed = stub.run(call["words"], call["env"], Path(call["folder"]))
                document = {"code": 0, "stdout": printed, "stderr": ""}
            except FlyFailed as failure:
                document = {"code": 1, "stdout": "", "stderr": f"{failure}\n"}
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    script = folder / "fly"
    address = f"http://127.0.0.1:{server.server_port}/"
    script.write_text(_SCRIPT.format(python=sys.executable, address=address))
    script.chmod(0o700)
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
