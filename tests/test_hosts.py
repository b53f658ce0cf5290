"""Hosts beyond those of the command line are refused, by whatever library asks."""

from __future__ import annotations

import http.server
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from sage_pl import hosts
from sage_pl.hosts import HostError
from sage_pl.semantic.embedders.openai import OpenAIEmbedder
from sage_pl.semantic.embedders.sentence import SentenceEmbedder
from sage_pl.semantic.interests.openai import OpenAIDescriber
from sage_pl.semantic.language_models.loading import load_decoder, load_encoder


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_GET  # noqa: N815  names of the library

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()


def test_a_host_below_an_allowed_one_is_allowed() -> None:
    assert hosts.may_contact("anything")
    with hosts.only(["Example.com"]):
        assert hosts.may_contact("api.example.com")
        assert not hosts.may_contact("badexample.com")
    with hosts.only("example.com"):
        assert hosts.may_contact("example.com.")
    assert hosts.may_contact("anything")


def test_the_message_names_host_and_switch_and_no_password() -> None:
    url = "https://user:secret@api.example.com:8080/v1?key=secret"
    with (
        hosts.only(()),
        pytest.raises(HostError, match=r"asks for api\.example\.com, .*add allow_host=api\.example\.com$"),
    ):
        hosts.require(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_library_reaches_a_host(server: tuple[str, list[str]], host: str) -> None:
    url = server[0].replace("127.0.0.1", host)
    with hosts.only(()), pytest.raises(HostError):
        urllib.request.urlopen(url)
    with hosts.only(["example.com"]), pytest.raises(HostError):
        urllib.request.urlopen(url)
    assert not server[1]
    with hosts.only([host]), pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url)
    assert server[1] == ["/"]


def test_a_service_is_refused_before_its_key_is_read(server: tuple[str, list[str]]) -> None:
    describer = OpenAIDescriber("m", server[0], "NO_SUCH_VARIABLE")
    with hosts.only(()):
        with pytest.raises(HostError, match=r"allow_host=127\.0\.0\.1"):
            OpenAIEmbedder(base_url=server[0], api_key_env="NO_SUCH_VARIABLE").encode(["a"])
        with pytest.raises(HostError, match=r"allow_host=127\.0\.0\.1"):
            next(describer.describe(["a"], [[[0]]]))
    assert not server[1]


def test_a_download_is_refused_and_names_the_hub() -> None:
    with hosts.only(()):
        for load in (
            lambda: SentenceEmbedder(model="nobody/nothing").encode(["a"]),
            lambda: load_encoder("nobody/nothing"),
            lambda: load_decoder("nobody/nothing", False, None, False, "remedy"),
        ):
            with pytest.raises(HostError, match=r"allow_host=huggingface\.co"):
                load()


def test_limits_of_threads_that_overlap_end_each_by_itself() -> None:
    """The first to begin ends first: no limit stays behind, and none is lifted by another's end."""
    first, second = hosts.only("a.example"), hosts.only("b.example")
    first.__enter__()
    second.__enter__()
    assert not hosts.may_contact("a.example"), "the second does not allow it"
    first.__exit__(None, None, None)
    assert not hosts.may_contact("a.example")
    assert hosts.may_contact("b.example")
    second.__exit__(None, None, None)
    assert hosts.may_contact("anything")
