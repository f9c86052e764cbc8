"""One function a request of the Machines API."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from speakerbot.testing.fly.faults import FlyFault
from speakerbot.testing.fly.machine import FlyMachine
from speakerbot.testing.fly.world import FlyRefusal, FlyWorld

Handler = Callable[[FlyWorld, web.Request, FlyFault | None], Awaitable[web.Response]]
_NONCE = "fly-machine-lease-nonce"


async def list_machines(
    world: FlyWorld, request: web.Request, _fault: FlyFault | None
) -> web.Response:
    query = request.query
    wanted = {key[9:]: value for key, value in query.items() if key.startswith("metadata.")}
    states = set(filter(None, query.get("state", "").split(",")))
    found = [
        machine
        for machine in world.living()
        if all(machine.config.get("metadata", {}).get(k) == v for k, v in wanted.items())
        and (not states or machine.state in states)
    ]
    if "limit" not in query:
        return web.json_response([machine.document() for machine in found])
    size = min(int(query["limit"]), world.page)
    start = int(query.get("cursor") or 0)
    page = found[start : start + size]
    more = {"fly-next-cursor": str(start + size)} if start + size < len(found) else {}
    return web.json_response([machine.document() for machine in page], headers=more)


async def create(world: FlyWorld, request: web.Request, _fault: FlyFault | None) -> web.Response:
    body = await _body(request)
    machine = world.create(
        str(body.get("name") or ""),
        str(body.get("region") or "iad"),
        body["config"],
        skip_launch=body.get("skip_launch") is True,
    )
    return web.json_response(machine.document())


async def show(world: FlyWorld, request: web.Request, _fault: FlyFault | None) -> web.Response:
    return web.json_response(_machine(world, request).document())


async def update(world: FlyWorld, request: web.Request, fault: FlyFault | None) -> web.Response:
    machine, body = _machine(world, request), await _body(request)
    _check_lease(world, machine, request)
    if body.get("current_version") not in (None, "", machine.version):
        raise FlyRefusal(409, f"aborted: machine version mismatch: {machine.version}")
    if body.get("region") not in (None, machine.region):
        raise FlyRefusal(400, "invalid_argument: a machine's region cannot be changed")
    before = (copy.deepcopy(machine.config), machine.version)
    world.update(machine, body["config"], skip_launch=body.get("skip_launch") is True)
    if fault and fault.kind == "revert":
        world.take_back(machine, *before, seconds=fault.seconds, quiet=fault.quiet)
    return web.json_response(machine.document())


async def delete(world: FlyWorld, request: web.Request, _fault: FlyFault | None) -> web.Response:
    machine = _machine(world, request)
    _check_lease(world, machine, request)
    world.delete(machine, force=request.query.get("force") == "true")
    return web.json_response({"ok": True})


async def start(world: FlyWorld, request: web.Request, _fault: FlyFault | None) -> web.Response:
    machine = _machine(world, request)
    _check_lease(world, machine, request)
    world.start(machine)
    return web.json_response({"previous_state": "stopped"})


async def stop(world: FlyWorld, request: web.Request, _fault: FlyFault | None) -> web.Response:
    machine = _machine(world, request)
    _check_lease(world, machine, request)
    world.stop(machine)
    return web.json_response({"ok": True})


async def wait(world: FlyWorld, request: web.Request, _fault: FlyFault | None) -> web.Response:
    machine = _machine(world, request)
    limit = float(request.query.get("timeout", "60").rstrip("s"))
    if not 1 <= limit <= 60:
        raise FlyRefusal(400, "invalid_argument: timeout must be between 1 and 60 seconds")
    end = world.time.now() + limit
    states = request.query.get("state", "started").split(",")
    version = request.query.get("version") or request.query.get("instance_id")
    if "stopped" in states and not version:
        raise FlyRefusal(400, "invalid_argument: instance_id is required to wait for stopped")
    while True:
        machine.settle(world.time.now())
        if version and version != machine.version:
            raise FlyRefusal(404, f"not_found: machine version not found: {version}")
        if machine.state in states:
            break
        if world.time.now() >= end:
            raise FlyRefusal(408, f"deadline_exceeded: machine is {machine.state}")
        await world.time.sleep(min(end, machine.changes_at or end) - world.time.now())
    return web.json_response({"ok": True, "state": machine.state, "version": machine.version})


async def events(world: FlyWorld, request: web.Request, _fault: FlyFault | None) -> web.Response:
    limit = min(int(request.query.get("limit", "20")), 50)
    return web.json_response(_machine(world, request).events[:limit])


async def lease(world: FlyWorld, request: web.Request, _fault: FlyFault | None) -> web.Response:
    machine, body = _machine(world, request), await _body(request)
    _check_lease(world, machine, request)
    nonce = request.headers.get(_NONCE) or f"nonce{len(world.requests)}"
    machine.lease = {
        "nonce": nonce,
        "owner": "person@example.org",
        "description": str(body.get("description", "")),
        "version": machine.version,
        "expires_at": int(world.time.now() + int(body.get("ttl") or 30)),
    }
    if world.lease_under_data:
        return web.json_response({"status": "success", "data": machine.lease}, status=201)
    return web.json_response(machine.lease, status=201)


async def release(world: FlyWorld, request: web.Request, _fault: FlyFault | None) -> web.Response:
    machine = _machine(world, request)
    _check_lease(world, machine, request)
    machine.lease = None
    return web.json_response({"ok": True})


def _machine(world: FlyWorld, request: web.Request) -> FlyMachine:
    return world.find(request.match_info["machine"])


def _check_lease(world: FlyWorld, machine: FlyMachine, request: web.Request) -> None:
    held = machine.lease
    if (
        held
        and held["expires_at"] > world.time.now()
        and held["nonce"] != request.headers.get(_NONCE)
    ):
        raise FlyRefusal(409, f"aborted: machine is leased by {held['owner']}")


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise FlyRefusal(400, "invalid_argument: the body is not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("config", {}), dict):
        raise FlyRefusal(400, "invalid_argument: the body is not an object")
    return body


ROUTES: tuple[tuple[str, str, str, Handler], ...] = (
    ("GET", "", "list", list_machines),
    ("POST", "", "create", create),
    ("GET", "/{machine}", "get", show),
    ("POST", "/{machine}", "update", update),
    ("DELETE", "/{machine}", "delete", delete),
    ("POST", "/{machine}/start", "start", start),
    ("POST", "/{machine}/stop", "stop", stop),
    ("GET", "/{machine}/wait", "wait", wait),
    ("GET", "/{machine}/events", "events", events),
    ("POST", "/{machine}/lease", "lease", lease),
    ("DELETE", "/{machine}/lease", "release", release),
)
