"""What we send to Fly, and what the loopback Fly answers, fit Fly's published documents."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from openapi_schema_validator import OAS30Validator

from deploy.apply import ApplyReport, apply
from deploy.fly import Fly, RateLimit, Transport
from deploy.machines import wanted_machines
from deploy.plan import make_plan
from jobs import JOBS
from speakerbot.schedules.reading import parse_schedules
from speakerbot.testing.fly import CommandOutcome, FlyWorld
from speakerbot.testing.fly.server import application

SPECS = Path(__file__).parents[3] / "shared" / "specs"
IMAGE = "registry.fly.io/community:cron@sha256:" + "a" * 64


@pytest.fixture(params=["fly-machines-excerpt.json", "fly-machines-2024-02.json"])
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    path = SPECS / request.param
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the project")
    return dict(json.loads(path.read_text()))


Exchange = tuple[str, str, Any, int, Any]
"""Method, path, sent body, status, received body."""


def recording(seen: list[Exchange]) -> Any:
    """Sees every request and answer on the wire."""

    @web.middleware
    async def record(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.Response]]
    ) -> web.Response:
        sent = await request.json() if request.can_read_body else None
        response = await handler(request)
        received = json.loads(response.text) if response.text else None
        seen.append((request.method, request.path, sent, response.status, received))
        return response

    return record


def a_day_of_work() -> list[Exchange]:
    """Create, refuse, update, wait, stop, delete, start and look: every request we ever make."""
    seen: list[Exchange] = []
    world = FlyWorld(run=lambda _machine, _now: CommandOutcome(seconds=90))
    first = [{"name": n, "job": "weekly", "cron": "@hourly"} for n in ("a", "b", "c", "d")]
    first[1]["job"] = "starting"
    then = [{**first[0], "grace": "1d", "env": {"A": "1"}, "machines": 2, "regions": ["iad"] * 2}]

    async def work() -> None:
        app = application(world)
        app.middlewares.append(recording(seen))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/apps/{world.app}/machines"
        headers = {"Authorization": "FlyV1 fm2_good"}
        async with aiohttp.ClientSession(headers=headers) as session:
            fly = Fly(
                Transport(session, base, world.app, RateLimit(world.time.now, world.time.sleep))
            )
            for entries in (first, then):
                schedules = parse_schedules(json.dumps({"schedules": entries}), "s.json", JOBS)
                wanted = list(wanted_machines(schedules, {}))
                plan = make_plan(wanted, await fly.machines(), image=IMAGE, prune=True)
                await apply(fly, ApplyReport(plan.actions), wait_for_runs=600)
            world.pass_time(600)
            machine = (await fly.machines())[0]
            await fly.start(machine.id)
            await fly.events(machine.id)
            async with session.post(base, json={"name": machine.name, "config": {"image": "x"}}):
                pass
        await runner.cleanup()

    asyncio.run(work())
    return seen


def operation(spec: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    prefix = "" if any(known.startswith("/v1/") for known in spec["paths"]) else "/v1"
    for known, operations in spec["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", prefix + known)
        if re.fullmatch(pattern, path) and method.lower() in operations:
            return dict(operations[method.lower()])
    raise AssertionError(f"Fly documents no {method} {path}")


def errors(spec: dict[str, Any], schema: dict[str, Any], document: Any) -> Iterator[str]:
    validator = OAS30Validator({**schema, "components": spec["components"]})
    yield from (f"{error.json_path}: {error.message}" for error in validator.iter_errors(document))


def content(part: dict[str, Any]) -> dict[str, Any] | None:
    schema = part.get("content", {}).get("application/json", {}).get("schema")
    return None if schema is None else dict(schema)


def test_requests_and_answers_fit_flys_own_document(spec: dict[str, Any]) -> None:
    exchanges = a_day_of_work()
    actions = {
        (method, re.sub(r"/machines/\w+", "/machines/M", path)) for method, path, *_ in exchanges
    }
    assert len(actions) == 11
    codes = spec["components"]["schemas"]["main.statusCode"]["enum"]
    problems = []
    for method, path, sent, status, received in exchanges:
        known = operation(spec, method, path)
        if sent is not None:
            schema = content(known["requestBody"])
            assert schema is not None
            problems += [f"sent {method} {path} {e}" for e in errors(spec, schema, sent)]
        answers = known["responses"]
        answer = answers.get(str(status)) or (answers["200"] if status < 300 else None)
        schema = content(answer) if answer else {"$ref": "#/components/schemas/ErrorResponse"}
        if status == 409 and "name_taken" not in codes:
            continue  # the older document does not know that code yet
        if schema is not None:
            problems += [
                f"got {method} {path} {status} {e}" for e in errors(spec, schema, received)
            ]
    assert problems == []


def test_we_send_no_field_fly_does_not_know(spec: dict[str, Any]) -> None:
    schemas = spec["components"]["schemas"]
    config = next(
        schemas[name] for name in ("fly.MachineConfig", "api.MachineConfig") if name in schemas
    )
    for method, path, sent, _status, _received in a_day_of_work():
        if sent is not None and "config" in sent:
            kind = "UpdateMachineRequest" if path.count("/") > 4 else "CreateMachineRequest"
            assert set(sent) <= set(schemas[kind]["properties"]), (method, path)
            assert set(sent["config"]) <= set(config["properties"])
            assert "skip_launch" not in sent
