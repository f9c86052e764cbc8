"""Where Fly is, which app is meant, and the token: from options, environment and fly.toml.

The environment is the process's, over what ``.env`` says. This is the only reader of fly.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speakerbot.errors import ConfigError, TokenRefused

API = "https://api.machines.dev"
REGISTRY = "registry.fly.io"
_MACAROON = ("fm1r_", "fm1a_", "fm2_")
_ACCESS_TOKEN = re.compile(r"^access_token:\s*[\"']?([^\"'#\n]+?)[\"']?\s*$", re.MULTILINE)
_APP = re.compile(r"[a-z0-9][a-z0-9-]*")
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?")
_NOT_FOR_JOBS = frozenset({"PORT", "HOST", "PRIMARY_REGION"})


@dataclass(frozen=True, slots=True)
class FlyTarget:
    """The app whose machines are meant. ``env``: what fly.toml gives its machines; ``registry``:
    the host that keeps its images."""

    app: str
    base: str
    env: Mapping[str, str]
    authorization: str = field(repr=False)
    registry: str = REGISTRY


def find_target(
    app: str | None, token: str | None, env: Mapping[str, str], folder: Path = Path()
) -> FlyTarget:
    """Raises ConfigError without an app and TokenRefused without a token, saying how to get one."""
    written = _fly_toml(folder / "fly.toml")
    app = app or env.get("FLY_APP") or env.get("FLY_APP_NAME") or written.get("app")
    if not isinstance(app, str) or not app:
        raise ConfigError(
            'which app? Give --app, set FLY_APP, or write app = "…" into fly.toml here'
        )
    if not _APP.fullmatch(app):
        raise ConfigError(
            f"{app!r} is not the name of a Fly app: use lower-case letters, digits and hyphens"
        )
    base = (env.get("FLY_FLAPS_BASE_URL") or API).rstrip("/")
    if not base.startswith(("https://", "http://")):
        raise ConfigError(f"FLY_FLAPS_BASE_URL: {base!r} is not an address: write {API}")
    registry = env.get("FLY_REGISTRY_HOST") or REGISTRY
    if not _REGISTRY.fullmatch(registry):
        raise ConfigError(f"FLY_REGISTRY_HOST: {registry!r} is not a host: write {REGISTRY}")
    own = written.get("env")
    variables = own if isinstance(own, dict) else {}
    kept = {name: str(value) for name, value in variables.items() if name not in _NOT_FOR_JOBS}
    return FlyTarget(app, base, kept, authorization(_token(token, env, app)), registry)


def authorization(token: str) -> str:
    """The header's value: Fly's own tokens have a scheme of their own."""
    token = token.strip()
    for scheme in ("FlyV1 ", "Bearer "):
        if token.startswith(scheme):
            return token
    parts = [part.strip() for part in token.split(",") if part.strip()]
    if parts and parts[0].startswith(_MACAROON):
        return f"FlyV1 {','.join(parts)}"
    return f"Bearer {token}"


def _token(given: str | None, env: Mapping[str, str], app: str) -> str:
    folder = Path(env.get("FLY_CONFIG_DIR") or Path(env.get("HOME", "~")).expanduser() / ".fly")
    for token in (given, env.get("FLY_ACCESS_TOKEN"), env.get("FLY_API_TOKEN")):
        if token and token.strip():
            return token
    try:
        found = _ACCESS_TOKEN.search((folder / "config.yml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        found = None
    if found is None:
        raise TokenRefused(
            "there is no Fly token: create one with `fly tokens create deploy -a "
            f"{app}` and set it as FLY_API_TOKEN"
        )
    return found.group(1)


def _fly_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
