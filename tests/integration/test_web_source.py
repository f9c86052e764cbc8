"""Fetching a programme from whoever answers: what is bounded, refused, repeated and kept secret."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from speakerbot.errors import ConfigError, SourceRefused, TokenRefused, Unreachable, UsageError
from speakerbot.formats.web_source import Access, Bounds, Document, Resolve, fetch, public
from speakerbot.testing.programmes import ProgrammeServer

HASTY = Bounds(seconds=5.0, silent_seconds=0.5, size=2 * 1024**2, pauses=(0.0, 0.0))
ACCESS = Access(allow_private=True, bounds=HASTY)
TOKEN = "e1l6gq2ye72thbwkacj7jbri7a7tvxe614ojv8yb"


@pytest.fixture
def server() -> Iterator[ProgrammeServer]:
    with ProgrammeServer() as server:
        yield server


def fetch_one(address: str, access: Access = ACCESS) -> Document:
    [document] = fetch(address, access)
    return document


def refused(address: str, access: Access = ACCESS) -> str:
    with pytest.raises(SourceRefused) as caught:
        fetch(address, access)
    return str(caught.value)


def unreachable(address: str, access: Access = ACCESS) -> str:
    with pytest.raises(Unreachable) as caught:
        fetch(address, access)
    return str(caught.value)


def resolving(*answers: Sequence[str]) -> Resolve:
    """Answers in this order, the last one for ever."""
    waiting = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return resolve


def test_what_lies_there_comes_with_where_it_is_from(server: ProgrammeServer) -> None:
    server.put("/schedule.json", '{"schedule": {}}')
    document = fetch_one(server.address("/schedule.json?key=hunter2"))
    assert document.data == b'{"schedule": {}}'
    assert document.content_type == "application/json"
    assert document.name == server.address("/schedule.json")


def test_webcal_is_https() -> None:
    with pytest.raises(SourceRefused, match="private network"):
        fetch("webcal://127.0.0.1:9/talks.ics", Access(bounds=HASTY))


@pytest.mark.parametrize(
    "address", ["ftp://talks.example/x", "https://", "http://[::1", "file:///etc/passwd"]
)
def test_what_is_not_an_address_of_the_web_is_wrong_usage(address: str) -> None:
    with pytest.raises(UsageError):
        fetch(address, ACCESS)


def test_a_password_in_the_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(UsageError) as caught:
        fetch("https://ada:hunter2@talks.example/", ACCESS)
    assert "SPEAKERBOT_SYNC_TOKEN" in str(caught.value)
    assert "hunter2" not in str(caught.value)


# --- bounds


def test_an_endless_answer_ends_at_the_limit(server: ProgrammeServer) -> None:
    server.put("/", manner="endless")
    assert "holds more than 2 MB" in refused(server.address("/"))


def test_a_packed_bomb_is_not_unpacked_to_see_its_size(server: ProgrammeServer) -> None:
    server.put("/", manner="bomb")
    patient = replace(ACCESS, bounds=replace(HASTY, seconds=30.0, silent_seconds=30.0))
    assert "holds more than 2 MB" in refused(server.address("/"), patient)


def test_a_source_that_dribbles_ends_when_the_time_is_over(server: ProgrammeServer) -> None:
    server.put("/", manner="slow")
    hasty = replace(ACCESS, bounds=replace(HASTY, seconds=1.0))
    began = time.monotonic()
    assert "took longer than 1 s in all" in unreachable(server.address("/"), hasty)
    assert time.monotonic() - began < 3


def test_a_silent_source_is_asked_again_a_few_times(server: ProgrammeServer) -> None:
    server.put("/", manner="silent")
    assert "it does not answer" in unreachable(server.address("/"))
    assert len(server.asked) == 3


@pytest.mark.parametrize("manner", ["truncated", "hang up"])
def test_half_an_answer_is_a_fault_and_not_half_a_programme(
    server: ProgrammeServer, manner: str
) -> None:
    server.put("/", '{"whole": true}')
    server.put("/", '{"whole"', manner=manner, times=2)
    assert fetch_one(server.address("/")).data == b'{"whole": true}'


# --- faults and refusals


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_fault_of_the_service_passes(server: ProgrammeServer, status: int) -> None:
    server.put("/", "[]")
    server.put("/", status=status, times=2)
    assert fetch_one(server.address("/")).data == b"[]"
    assert len(server.asked) == 3


def test_a_lasting_fault_is_unreachable(server: ProgrammeServer) -> None:
    server.put("/", status=500)
    assert "(500)" in unreachable(server.address("/"))
    assert len(server.asked) == 3


def test_retry_after_is_waited_for_up_to_a_bound(server: ProgrammeServer) -> None:
    server.put("/", "[]")
    server.put("/", status=429, headers={"Retry-After": "1"}, times=1)
    began = time.monotonic()
    fetch_one(server.address("/"))
    assert time.monotonic() - began >= 1


def test_an_absurd_retry_after_does_not_outlast_the_time_in_all(server: ProgrammeServer) -> None:
    server.put("/", status=429, headers={"Retry-After": "9" * 400})
    hasty = replace(ACCESS, bounds=replace(HASTY, seconds=1.0))
    assert "took longer than 1 s" in unreachable(server.address("/"), hasty)


def test_nobody_there_is_unreachable() -> None:
    assert "cannot be connected to" in unreachable("http://127.0.0.1:9/")


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    assert "'talks.invalid'" in unreachable("http://talks.invalid/")


def test_404_says_what_to_check(server: ProgrammeServer) -> None:
    assert "check the address" in refused(server.address("/nothing"))


@pytest.mark.parametrize("status", [204, 400, 418])
def test_any_other_status_is_not_a_programme(server: ProgrammeServer, status: int) -> None:
    server.put("/", status=status)
    assert f"answered {status}" in refused(server.address("/"))


# --- private addresses


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/", "http://localhost/", "http://10.0.0.8/", "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://[fdaa::3]/",
        "http://[fe80::1%25eth0]/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "http://0x7f.1/",
    ],
)  # fmt: skip
def test_a_private_address_is_refused_however_it_is_written(address: str) -> None:
    assert "--allow-private" in refused(address, Access(bounds=HASTY))


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1"])
def test_a_number_that_some_programs_take_for_an_address_is_refused(host: str) -> None:
    assert "is not the name of a host" in refused(f"http://{host}/", Access(bounds=HASTY))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.1.1", "100.100.100.200", "169.254.169.254", "192.0.0.192", "224.0.0.1",
        "168.63.129.16", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:10.0.0.1",
        "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:db8::1", "fdaa::3",
        "fd00:ec2::254", "fe80::1", "ff02::1", "::7f00:1",
    ],
)  # fmt: skip
def test_not_public(address: str) -> None:
    assert not public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2a00:1450:4001::8a", "64:ff9b::808:808"])
def test_public(address: str) -> None:
    assert public(ip_address(address))


def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    access = Access(bounds=HASTY, resolve=resolving(["93.184.216.34", "10.0.0.8"]))
    assert "private network (10.0.0.8)" in refused("http://talks.example/", access)


def test_the_connection_goes_to_the_address_that_was_checked(server: ProgrammeServer) -> None:
    """No name is resolved a second time between the check and the connection."""
    server.put("/", "[]")
    access = replace(ACCESS, resolve=resolving(["127.0.0.1"], ["192.0.2.1"]))
    fetch_one(server.address("/", host="talks.example"), access)
    assert server.asked[0].host == f"talks.example:{server.port}"


def test_a_name_that_turns_private_is_refused_when_it_is_resolved_again(
    server: ProgrammeServer,
) -> None:
    server.put("/", "[]")
    rebinding = resolving(["192.88.99.1"], ["127.0.0.1"])
    assert "private" in refused(
        server.address("/", host="talks.example"), Access(bounds=HASTY, resolve=rebinding)
    )
    assert server.asked == []


# --- redirects


def test_a_redirect_is_followed(server: ProgrammeServer) -> None:
    server.redirect("/schedule/", "/schedule/export/schedule.json")
    server.put("/schedule/export/schedule.json", "{}")
    assert fetch_one(server.address("/schedule/")).name.endswith("/export/schedule.json")


def test_redirects_end(server: ProgrammeServer) -> None:
    server.redirect("/", "/")
    assert "redirects more than 5 times" in refused(server.address("/"))
    assert len(server.asked) == 6


def test_a_redirect_into_the_private_network_is_refused(server: ProgrammeServer) -> None:
    """From a host that may be private: the other one is checked by itself."""
    server.redirect("/", f"http://inside.example:{server.port}/secrets")
    checked = Access(bounds=HASTY, resolve=resolving(["10.0.0.8"]))
    assert "private" in refused("http://inside.example/", checked)
    assert server.asked == []


@pytest.mark.parametrize(
    "to", ["ftp://talks.example/", "javascript:alert(1)", "http://[", "//u:p@h/"]
)
def test_a_redirect_to_what_is_not_the_web_is_refused(server: ProgrammeServer, to: str) -> None:
    server.redirect("/", to)
    assert "leads to what is not an address of the web" in refused(server.address("/"))


# --- pages of pretalx's API


def test_a_list_comes_with_all_its_pages(server: ProgrammeServer) -> None:
    rows = [{"code": f"C{number}"} for number in range(120)]
    server.put_pages("/api/events/demo/submissions/", rows)
    documents = fetch(server.address("/api/events/demo/submissions/"), ACCESS)
    assert [document.data.count(b'"code"') for document in documents] == [50, 50, 20]


def test_pretalx_is_asked_to_expand_what_would_be_ids(server: ProgrammeServer) -> None:
    server.put_pages("/api/events/demo/submissions/", [])
    fetch(server.address("/api/events/demo"), ACCESS)
    [asked] = server.asked
    assert asked.path.startswith("/api/events/demo/submissions/?expand=speakers.answers.question")


def test_a_list_whose_pages_do_not_end_is_refused(server: ProgrammeServer) -> None:
    server.put("/list", '{"results": [], "next": "/list"}')
    assert "does not end" in refused(server.address("/list"))


def test_a_next_page_at_another_host_is_refused(server: ProgrammeServer) -> None:
    server.put("/list", '{"results": [], "next": "http://127.0.0.2/list?page=2"}')
    assert "its next page lies at http://127.0.0.2/list" in refused(server.address("/list"))


def test_all_pages_together_are_bounded(server: ProgrammeServer) -> None:
    rows = [{"code": "x" * 300_000} for _ in range(10)]
    server.put_pages("/list", rows, size=1)
    assert "more than 2 MB" in refused(server.address("/list"))


# --- the token


def test_no_token_goes_over_http(server: ProgrammeServer) -> None:
    server.put("/", "[]")
    fetch_one(server.address("/"), replace(ACCESS, token=TOKEN))
    assert server.asked[0].token is None


def test_a_token_that_was_not_shown_is_said(server: ProgrammeServer) -> None:
    server.put("/", token=TOKEN)
    with pytest.raises(ConfigError) as caught:
        fetch(server.address("/"), replace(ACCESS, token=TOKEN))
    assert "was not shown" in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_token_is_a_missing_setting(server: ProgrammeServer, status: int) -> None:
    server.put("/", status=status)
    with pytest.raises(ConfigError, match="set SPEAKERBOT_SYNC_TOKEN"):
        fetch(server.address("/"), ACCESS)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of localhost and other.localhost, with its key; signed by itself."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: no certificate for a https server")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "30", "-subj", "/CN=localhost", "-keyout", file, "-out", f"{file}.crt",
         "-addext", "subjectAltName=DNS:localhost,DNS:other.localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[ProgrammeServer]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with ProgrammeServer(tls) as server:
        yield server


@pytest.fixture
def trusting(certificate: Path) -> Access:
    return replace(
        ACCESS,
        token=TOKEN,
        tls=ssl.create_default_context(cafile=f"{certificate}.crt"),
        resolve=resolving(["127.0.0.1"]),
    )


def test_the_token_is_shown_over_https_to_the_source(
    secure: ProgrammeServer, trusting: Access
) -> None:
    secure.put_pages(
        "/api/events/demo/submissions/", [{"code": "A"}] * 60, host="localhost", token=TOKEN
    )
    address = secure.address("/api/events/demo/submissions/", host="localhost")
    assert len(fetch(address, trusting)) == 2
    assert [asked.token for asked in secure.asked] == [f"Token {TOKEN}"] * 2


def test_a_scheme_of_ones_own_stays(secure: ProgrammeServer, trusting: Access) -> None:
    secure.put("/", "[]")
    fetch(secure.address("/", host="localhost"), replace(trusting, token="Bearer abc"))
    assert secure.asked[0].token == "Bearer abc"


def test_a_refused_token_is_said_without_it(secure: ProgrammeServer, trusting: Access) -> None:
    secure.put("/", token="another")
    with pytest.raises(TokenRefused) as caught:
        fetch(secure.address("/", host="localhost"), trusting)
    assert TOKEN not in str(caught.value)


def test_another_host_never_sees_the_token_nor_does_the_source_after_it(
    secure: ProgrammeServer, trusting: Access
) -> None:
    """A redirect to another host and back: that other host chose what is asked for then."""
    secure.redirect("/", secure.address("/elsewhere", host="other.localhost"))
    secure.redirect("/elsewhere", secure.address("/back", host="localhost"))
    secure.put("/back", "[]")
    fetch(secure.address("/", host="localhost"), trusting)
    assert [asked.token for asked in secure.asked] == [f"Token {TOKEN}", None, None]


def test_no_redirect_leads_from_https_to_http(
    secure: ProgrammeServer, trusting: Access, server: ProgrammeServer
) -> None:
    server.put("/", "[]")
    secure.redirect("/", server.address("/"))
    assert "redirects from https" in refused(secure.address("/", host="localhost"), trusting)
    assert server.asked == []


def test_a_certificate_that_nobody_vouches_for_is_not_taken(
    secure: ProgrammeServer, trusting: Access
) -> None:
    secure.put("/", "[]")
    said = unreachable(secure.address("/", host="localhost"), replace(trusting, tls=None))
    assert "its certificate is not valid" in said
    assert secure.asked == []


def test_secrets_in_an_address_are_not_repeated(server: ProgrammeServer) -> None:
    secret = "private-0123456789abcdef0123456789abcdef"
    said = refused(server.address(f"/calendar/ical/{secret}/basic.ics?key=hunter2"))
    assert "/calendar/ical/privat…/basic.ics" in said
    assert "0123456789abcdef" not in said
    assert "hunter2" not in said
