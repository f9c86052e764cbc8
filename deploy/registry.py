"""Which digest a tag of Fly's registry has at this moment."""

from __future__ import annotations

from typing import Final

import aiohttp

from deploy.api_errors import ImageMissing
from deploy.settings import FlyTarget
from speakerbot.errors import TokenRefused, Unreachable, UsageError

FLY: Final = "registry.fly.io"
_KINDS: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1",
                 "docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2")
)  # fmt: skip


async def by_digest(image: str, target: FlyTarget, seconds: float) -> str:
    """``image`` with its digest behind it. Raises UsageError for another registry than Fly's,
    which must not see the token, ImageMissing, TokenRefused and Unreachable."""
    if "@" in image:
        return image
    host, _, path = image.partition("/")
    local = host.partition(":")[0] in ("127.0.0.1", "localhost")
    if host != FLY and not local:
        raise UsageError(f"--by-digest asks only {FLY}: write the digest behind {image} yourself")
    name, _, tag = path.partition(":")
    url = f"{'http' if local else 'https'}://{host}/v2/{name}/manifests/{tag or 'latest'}"
    token = target.authorization.partition(" ")[2]
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(seconds)) as session,
            session.head(
                url,
                headers={"Accept": _KINDS},
                auth=aiohttp.BasicAuth("x", token),
                allow_redirects=False,
            ) as response,
        ):
            return f"{image}@{_digest(response, image, target.app)}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable(f"{host} did not say which digest {image} has: {error!r}") from error


def _digest(response: aiohttp.ClientResponse, image: str, app: str) -> str:
    digest = response.headers.get("Docker-Content-Digest", "")
    if response.status == 404:
        raise ImageMissing(f"{image} does not exist: build and push it with `make cron-deploy`")
    if response.status in (401, 403):
        raise TokenRefused(
            f"the registry does not let this token see {image}: create one that may "
            f"with `fly tokens create deploy -a {app}`"
        )
    if response.status != 200 or not digest.startswith("sha256:"):
        raise Unreachable(f"the registry answered {response.status} for {image}, without a digest")
    return digest
