"""App and token are found where flyctl would find them, and sent as Fly wants them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.settings import authorization, find_target
from speakerbot.errors import ConfigError, TokenRefused


@pytest.mark.parametrize(
    ("token", "header"),
    [
        ("fm2_abc", "FlyV1 fm2_abc"),
        ("fm1r_a, fm2_b ,fm1a_c", "FlyV1 fm1r_a,fm2_b,fm1a_c"),
        ("FlyV1 fm2_abc", "FlyV1 fm2_abc"),
        ("  fo1_plain\n", "Bearer fo1_plain"),
        ("Bearer x", "Bearer x"),
    ],
)
def test_tokens_get_their_scheme_once(token: str, header: str) -> None:
    assert authorization(token) == header


def test_the_first_token_in_flys_order_wins(tmp_path: Path) -> None:
    config = tmp_path / "fly"
    config.mkdir()
    (config / "config.yml").write_text("last_login: 2026\naccess_token: 'fm2_file'\nx: y\n")
    env = {"FLY_CONFIG_DIR": str(config), "HOME": str(tmp_path)}

    def found(token: str | None = None) -> str:
        return find_target("app", token, env, tmp_path).authorization

    assert found() == "FlyV1 fm2_file"
    env["FLY_API_TOKEN"] = "api"
    assert found() == "Bearer api"
    env["FLY_ACCESS_TOKEN"] = "access"
    assert found() == "Bearer access"
    assert found("given") == "Bearer given"


def test_the_file_is_read_in_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / ".fly").mkdir()
    (tmp_path / ".fly" / "config.yml").write_text("access_token: fm2_home\n")
    env = {"HOME": str(tmp_path)}
    assert find_target("app", None, env, tmp_path).authorization == "FlyV1 fm2_home"


def test_without_a_token_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenRefused, match="create one with `fly tokens create deploy -a app`"):
        find_target("app", None, {"HOME": str(tmp_path)}, tmp_path)


def test_app_and_environment_come_from_fly_toml(tmp_path: Path) -> None:
    (tmp_path / "fly.toml").write_text('app = "ours"\n[env]\nPORT = "3000"\nLLM_MODEL = "m"\nN = 1')
    env = {"FLY_API_TOKEN": "t"}
    target = find_target(None, None, env, tmp_path)
    assert target.app == "ours"
    assert target.env == {"LLM_MODEL": "m", "N": "1"}
    assert target.base == "https://api.machines.dev"
    assert find_target("other", None, env, tmp_path).app == "other"


@pytest.mark.parametrize(
    ("toml", "env", "said"),
    [
        ("app = ", {}, "fly.toml: cannot be read"),
        ("", {}, "which app?"),
        ('app = "../x"', {}, "not the name of a Fly app"),
        ('app = "a"', {"FLY_FLAPS_BASE_URL": "machines.dev"}, "FLY_FLAPS_BASE_URL"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, toml: str, env: dict[str, str], said: str
) -> None:
    (tmp_path / "fly.toml").write_text(toml)
    with pytest.raises(ConfigError, match=said):
        find_target(None, "token", env, tmp_path)


def test_a_token_is_in_no_repr(tmp_path: Path) -> None:
    assert "hush" not in repr(find_target("app", "hush", {}, tmp_path))


def test_another_registry_is_flyctls_own_variable(tmp_path: Path) -> None:
    env = {"FLY_API_TOKEN": "t", "FLY_REGISTRY_HOST": "127.0.0.1:5000"}
    assert find_target("app", None, env, tmp_path).registry == "127.0.0.1:5000"
    env["FLY_REGISTRY_HOST"] = "http://evil/"
    with pytest.raises(ConfigError, match="FLY_REGISTRY_HOST"):
        find_target("app", None, env, tmp_path)
    del env["FLY_REGISTRY_HOST"]
    assert find_target("app", None, env, tmp_path).registry == "registry.fly.io"


@pytest.mark.parametrize(
    "toml",
    [
        "app = 'ours'",
        'app = "ours" # not "theirs"',
        '# app = "theirs"\n"app"="ours"',
        'app = "ours"\n[env]\napp = "theirs"',
    ],
)
def test_the_app_is_found_however_toml_lets_it_be_written(tmp_path: Path, toml: str) -> None:
    (tmp_path / "fly.toml").write_text(toml)
    assert find_target(None, "t", {}, tmp_path).app == "ours"
    assert find_target(None, "t", {"FLY_APP_NAME": "named"}, tmp_path).app == "named"
    both = {"FLY_APP": "meant", "FLY_APP_NAME": "named"}
    assert find_target(None, "t", both, tmp_path).app == "meant"
