"""The Machines API of a :class:`FlyWorld`, over HTTP on the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import BasicAuth, web

from speakerbot.testing.fly.faults import ANSWERS, FlyFault
from speakerbot.testing.fly.handlers import ROUTES, Handler
from speakerbot.testing.fly.machine import digest_of
from speakerbot.testing.fly.world import FlyRefusal, FlyWorld

Guarded = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serve(world: FlyWorld, *, port: int = 0) -> AsyncIterator[str]:
    """Serves the world; yields the address to set as ``FLY_FLAPS_BASE_URL``."""
    runner = web.AppRunner(application(world), access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def application(world: FlyWorld) -> web.Application:
    """The API as an aiohttp application."""
    app = web.Application()
    for method, path, action, handler in ROUTES:
        app.router.add_route(
            method, f"/v1/apps/{{app}}/machines{path}", _guarded(world, action, handler)
        )
    app.router.add_get("/v2/{name}/manifests/{tag}", _manifest(world))
    return app


def _manifest(world: FlyWorld) -> Guarded:
    """The registry's answer to which digest a tag has, to whom may ask."""

    async def handle(request: web.Request) -> web.StreamResponse:
        authorization = request.headers.get("Authorization", "")
        token = BasicAuth.decode(authorization).password if authorization else ""
        if world.tokens.get(token) != request.match_info["name"]:
            raise web.HTTPUnauthorized
        image = f"{request.host}/{request.match_info['name']}:{request.match_info['tag']}"
        if world.images is not None and image not in world.images:
            raise web.HTTPNotFound
        return web.Response(headers={"Docker-Content-Digest": digest_of(image)})

    return handle


def _guarded(world: FlyWorld, action: str, handler: Handler) -> Guarded:
    """Limits, token, app and faults, in the order in which Fly meets them."""

    async def handle(request: web.Request) -> web.StreamResponse:
        number = len(world.requests)
        world.requests.append(action)
        machine = world.machines.get(request.match_info.get("machine", ""))
        about = machine.name if machine else ""
        fault = next((fault for fault in world.faults if fault.strikes(action, about)), None)
        if world.client_dead or (fault and fault.kind == "unheard"):
            return _silence(request)
        if fault and fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
            return _silence(request)
        if fault and fault.kind == "crash" and fault.before:
            return _crash(world, request)
        response = await _answer(world, request, action, handler, fault)
        if fault and fault.kind == "crash":
            return _crash(world, request)
        if fault and fault.kind == "lost":
            return _silence(request)
        response.headers["fly-request-id"] = f"01K{number:05d}-loopback"
        return response

    return handle


async def _answer(
    world: FlyWorld, request: web.Request, action: str, handler: Handler, fault: FlyFault | None
) -> web.Response:
    if fault and fault.kind in ANSWERS:
        status, content_type, text = ANSWERS[fault.kind]
        return web.Response(status=status, content_type=content_type, text=text)
    if not world.limits.allow(action):
        return web.Response(status=429, text="rate limit exceeded")
    try:
        _check_token(world, request)
        return await handler(world, request, fault)
    except FlyRefusal as refusal:
        document = {"error": str(refusal), "status": refusal.code}
        return web.json_response(document, status=refusal.status)


def _check_token(world: FlyWorld, request: web.Request) -> None:
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    wanted = "FlyV1" if token.startswith(("fm1r_", "fm1a_", "fm2_")) else "Bearer"
    if scheme != wanted or token not in world.tokens:
        raise FlyRefusal(401, "unauthorized: token validation error: no verified tokens")
    app = request.match_info["app"]
    if app != world.app:
        raise FlyRefusal(404, f"app not found: {app}")
    if world.tokens[token] != app:
        raise FlyRefusal(403, "forbidden: token is not authorized for this app")


def _silence(request: web.Request) -> web.Response:
    """Hangs up without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _crash(world: FlyWorld, request: web.Request) -> web.Response:
    world.client_dead = True
    world.on_crash()
    return _silence(request)
