"""The lab's HTTP API: on a unix socket for the build machine, and on the router's address, with
a bearer token, for machines that ask for machines."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from wizard.errors import BuildUsbError, ProviderError
from wizard.lab import addresses, machines
from wizard.lab.lab import Lab

log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")
_MAX_BODY = 4 * 1024 * 1024


def error_body(error: BuildUsbError) -> dict[str, str]:
    """Return an error as the API carries it."""
    return {
        "what": error.what,
        "where": error.where,
        "why": error.why,
        "cure": error.cure,
        "code": getattr(error, "code", ""),
    }


def refusal(error: OSError) -> ProviderError:
    """Return what an error of this computer's system means to the lab."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return machines.no_space(str(error.filename or ""), str(error))
    return ProviderError(
        "this computer's system refused something to the lab",
        why=str(error),
        cure="run the command again; if it persists, see lab.log in the lab's folder",
        code="system",
    )


def _name(request: web.Request, key: str) -> str:
    value = request.match_info[key]
    if not _NAME.fullmatch(value):
        raise ProviderError(f"{value!r} is no valid name for a {key}", code="bad-name")
    return value


class Api:
    """Routes and what they call."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def application(self, *, token: str = "") -> web.Application:
        """Return the web application; with `token`, requests must carry it."""

        @web.middleware
        async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
            given = request.headers.get("Authorization", "")
            if token and not secrets.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return web.json_response({"what": "the token is missing or wrong"}, status=401)
            if self._lab.ended.is_set():
                return web.json_response({"what": "the lab is ending"}, status=503)
            self._lab.last_used = time.monotonic()
            try:
                return await handler(request)
            except BuildUsbError as error:
                return web.json_response(error_body(error), status=409)
            except (ValueError, KeyError, TypeError) as error:
                log.exception("bad request: %s %s", request.method, request.path)
                body = {"what": "the lab does not understand the request", "why": repr(error)}
                return web.json_response(body, status=400)
            except OSError as error:
                log.exception("failed: %s %s", request.method, request.path)
                return web.json_response(error_body(refusal(error)), status=500)

        application = web.Application(middlewares=[guard], client_max_size=_MAX_BODY)
        application.add_routes(
            [
                web.get("/", self._about),
                web.post("/services", self._services),
                web.post("/end-if-unused", self._end_if_unused),
                web.get("/deployments/{deployment}/resources", self._resources),
                web.get("/deployments/{deployment}/machines", self._machines),
                web.put("/deployments/{deployment}/network", self._network),
                web.put("/deployments/{deployment}/firewall", self._firewall),
                web.put("/deployments/{deployment}/machines/{machine}", self._machine),
                web.post("/machines/{machine}/snapshots/{snapshot}", self._snapshot),
                web.delete("/resources/{kind}/{id}", self._delete),
                web.post("/probe", self._probe),
            ]
        )
        return application

    async def _about(self, _: web.Request) -> web.Response:
        return web.json_response({"number": self._lab.number, "pid": os.getpid()})

    async def _services(self, request: web.Request) -> web.Response:
        return web.json_response(await self._lab.ensure_zone((await request.json())["zone"]))

    async def _end_if_unused(self, _: web.Request) -> web.Response:
        return web.json_response({"ending": await self._lab.remove_if_unused()})

    async def _resources(self, request: web.Request) -> web.Response:
        return web.json_response(self._lab.resources(_name(request, "deployment")))

    async def _machines(self, request: web.Request) -> web.Response:
        return web.json_response(self._lab.machines_of(_name(request, "deployment")))

    async def _network(self, request: web.Request) -> web.Response:
        return web.json_response(await self._lab.ensure_network(_name(request, "deployment")))

    async def _firewall(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self._lab.ensure_firewall(
            _name(request, "deployment"), list(body["rules"]), enabled=bool(body["enabled"])
        )
        return web.json_response({})

    async def _machine(self, request: web.Request) -> web.Response:
        wanted: dict[str, Any] = await request.json()
        wanted["name"] = _name(request, "machine")
        return web.json_response(
            await self._lab.ensure_machine(_name(request, "deployment"), wanted)
        )

    async def _snapshot(self, request: web.Request) -> web.Response:
        machine = request.match_info["machine"]
        return web.json_response(await self._lab.snapshot(machine, _name(request, "snapshot")))

    async def _delete(self, request: web.Request) -> web.Response:
        await self._lab.delete(request.match_info["kind"], request.match_info["id"])
        return web.json_response({"ending": await self._lab.remove_if_unused()})

    async def _probe(self, request: web.Request) -> web.Response:
        body = await request.json()
        result = await self._lab.probe(
            str(body["source"]), str(body["address"]), int(body["port"]), float(body["timeout"])
        )
        return web.json_response({"result": result})


async def serve(lab: Lab, socket_path: Path, owner: tuple[int, int]) -> list[web.AppRunner]:
    """Serve the API in both places; return what must be cleaned up at the end."""
    api = Api(lab)
    outside = web.AppRunner(api.application(), access_log=None, shutdown_timeout=1)
    inside = web.AppRunner(api.application(token=lab.token), access_log=None, shutdown_timeout=1)
    for runner in (outside, inside):
        await runner.setup()
    await web.TCPSite(inside, addresses.ROUTER, addresses.API_PORT).start()
    # made under another name and renamed: who finds the socket can use it
    partial = socket_path.with_name(".lab.sock.new")
    partial.unlink(missing_ok=True)
    folder = os.open(socket_path.parent, os.O_PATH | os.O_DIRECTORY)
    # a socket's address holds 107 bytes at most, less than many a path
    await web.UnixSite(outside, f"/proc/self/fd/{folder}/{partial.name}").start()
    partial.chmod(0o600)
    os.chown(partial, *owner)
    partial.rename(socket_path)
    os.close(folder)
    return [outside, inside]
