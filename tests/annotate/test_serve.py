"""The server of the live page: answers, refusals, corrections on disk."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from rntn_jax.annotate import Pipeline
from rntn_jax.annotate.corrections import Corrections
from rntn_jax.annotate.serve import MAX_BODY, Server, serve
from rntn_jax.data import parse_tree, read_trees
from tests.annotate.live_server import COMMAND, running, small_model

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "The film is not very good, but it is not bad."
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def model() -> Pipeline:
    return small_model()


@pytest.fixture(scope="module")
def server(model: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(model, tmp_path_factory.mktemp("live") / "c.txt") as opened:
        yield opened


@pytest.fixture
def file(server: Server) -> Path:
    """The file of corrections, empty."""
    server.corrections.path.unlink(missing_ok=True)
    return server.corrections.path


def request(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def post(server: Server, path: str, **content: Any) -> dict[str, Any]:
    body = json.dumps(content).encode()
    status, _, answer = request(server.server_port, "POST", path, body, JSON)
    return {"status": status, **json.loads(answer)}


def test_the_page_asks_nobody_but_its_server(server: Server):
    status, headers, body = request(server.server_port, "GET", "/")
    page = body.decode()
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff" and "Python" not in headers["Server"]
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ") and "connect-src 'self'" in policy
    assert re.search("script-src 'sha256-[^']+';", policy) and "frame-ancestors 'none'" in policy
    assert COMMAND.format(server.corrections.path) in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_a_text_gets_its_tree(server: Server, file: Path):
    answer = post(server, "/label", text=SENTENCE)
    assert answer["status"] == 200 and answer["fixes"] == {} and not file.exists()
    assert answer["tokens"] == SENTENCE.replace(",", " ,").replace("bad.", "bad .").split()
    tree = parse_tree(answer["brackets"])
    assert list(tree.tokens) == answer["tokens"] and (tree.labels == -1).all()
    assert answer["html"].count("data-node=") == len(tree) and "rj-edit" in answer["html"]
    assert answer["unknown"] == ["The", "it"]


def test_corrected_labels_are_written_and_come_back(server: Server, file: Path):
    shown = post(server, "/label", text=SENTENCE)["brackets"]
    fixed = shown.replace("(-1", "(3", 1)
    answer = post(server, "/correct", brackets=fixed)
    assert file.read_text() == fixed + "\n"
    assert [row["brackets"] for row in answer["corrections"]] == [fixed]
    again = post(server, "/label", text=SENTENCE)
    tree = parse_tree(fixed)
    assert again["brackets"] == fixed and again["fixes"] == {str(len(tree) - 1): 3}
    assert post(server, "/label", brackets=shown)["brackets"] == fixed
    more = fixed.replace("(-1 not)", "(1 not)", 1)
    post(server, "/correct", brackets="(-1 (2 a) (-1 film))")
    answer = post(server, "/correct", brackets=more)
    rows = [(row["text"], row["labels"]) for row in answer["corrections"]]
    assert rows == [(tree.text, 2), ("a film", 1)]  # the newest first, each sentence once
    assert read_trees(file) == [parse_tree("(-1 (2 a) (-1 film))"), parse_tree(more)]
    status, _, body = request(server.server_port, "GET", "/corrections")
    assert status == 200 and json.loads(body) == {"corrections": answer["corrections"]}
    assert post(server, "/remove", brackets=more)["corrections"] == answer["corrections"][1:]
    post(server, "/correct", brackets=fixed)
    assert len(post(server, "/correct", brackets=shown)["corrections"]) == 1  # all undone


def test_a_phrase_is_forced_and_what_does_not_cross_it_stays(server: Server, file: Path):
    tree = parse_tree(post(server, "/label", text=SENTENCE)["brackets"])
    spans = [tuple(span) for span in tree.spans().tolist()]
    begin, end = next(
        (i, i + size)
        for size in (3, 4, 5)
        for i in range(1, tree.num_leaves - size)
        if (i, i + size) not in spans
    )
    crosses = [i < begin < j < end or begin < i < end < j for i, j in spans]
    assert any(crosses)
    labels = np.where(np.arange(len(tree)) % 2, 3, -1)
    labelled = type(tree)(tree.tokens, tree.children, labels)
    answer = post(server, "/phrase", brackets=labelled.to_brackets(), begin=begin, end=end)
    forced = parse_tree(answer["brackets"])
    got = {tuple(s): int(y) for s, y in zip(forced.spans().tolist(), forced.labels)}
    assert (begin, end) in got
    for span, label, gone in zip(spans, labels, crosses):
        assert (span not in got) if gone else got[span] == label
    assert file.read_text() == forced.to_brackets() + "\n"
    assert post(server, "/label", text=SENTENCE)["brackets"] == forced.to_brackets()
    # Brackets alone are a correction too, also where no label is corrected.
    bare = type(forced)(forced.tokens, forced.children, np.full(len(forced), -1))
    assert len(post(server, "/correct", brackets=bare.to_brackets())["corrections"]) == 1


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("/label", {"text": " \n "}, "no words"),
        ("/label", {"text": "a " * 251}, "251 words; at most 250"),
        ("/label", {"text": "a" * 4001}, "4001 characters; at most 4000"),
        ("/label", {"text": 3}, "'text' must be str"),
        ("/label", {"tree": "x"}, "'text' must be str"),
        ("/label", {"brackets": "(1 (2 a)"}, "bracket"),
        ("/correct", {"brackets": "(5 (2 a) (2 b))"}, "5"),
        ("/correct", {"brackets": "(4 \ud800)"}, "no text file"),
        ("/correct", {}, "'brackets' must be str"),
        ("/phrase", {"brackets": "(1 a)", "begin": True, "end": 1}, "'begin' must be int"),
        ("/phrase", {"brackets": "(1 (2 a) (2 b))", "begin": 1, "end": 3}, "<= 2, got 1 and 3"),
        ("/phrase", {"brackets": "(1 (2 a) (2 b))", "begin": 1, "end": 1}, "got 1 and 1"),
    ],
    ids=str,
)
def test_wrong_contents_are_refused(server: Server, file: Path, path, content, message):
    answer = post(server, path, **content)
    assert answer["status"] == 400 and message in answer["error"]
    assert not file.exists()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {"Host": "evil.example"}, 403),
        ("GET", "/", {"Host": "127.0.0.1.evil.example:8765"}, 403),
        ("GET", "/", {"Host": ""}, 403),
        ("GET", "/", {"Origin": "http://evil.example"}, 403),
        ("GET", "/corrections", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/label", {"Host": "evil.example"}, 403),
        ("POST", "/label", {"Origin": "http://evil.example"}, 403),
        ("POST", "/label", {"Origin": "null"}, 403),
        ("POST", "/label", {"Origin": "http://127.0.0.1:1"}, 403),
        ("POST", "/label", {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", "/label", {"Content-Type": "text/plain"}, 415),
        ("POST", "/label", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/", {}, 405),
        ("GET", "/label", {}, 405),
        ("GET", "/../serve.py", {}, 404),
        ("GET", "//evil.example/", {}, 404),
        ("POST", "/label/", {}, 404),
        ("PUT", "/label", {}, 501),
        ("OPTIONS", "/label", {"Origin": "http://evil.example"}, 501),
    ],
    ids=str,
)
def test_other_origins_paths_and_methods_are_refused(
    server: Server, file: Path, method, path, headers, status
):
    body = json.dumps({"text": "a film", "brackets": "(1 a)"}).encode()
    sent = body if method == "POST" else None
    got, answered, content = request(server.server_port, method, path, sent, JSON | headers)
    assert got == status and "error" in json.loads(content)
    assert answered["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answered and not file.exists()


def test_the_page_s_own_requests_are_not_refused(server: Server):
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "localhost:9000"):  # a tunnel's port
        headers = JSON | {
            "Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin",
        }  # fmt: skip
        status, _, _ = request(server.server_port, "POST", "/label", b'{"text": "a"}', headers)
        assert status == 200
    link = {"Sec-Fetch-Site": "cross-site"}
    assert request(server.server_port, "GET", "/", headers=link)[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"text"', b"[" * 5000], ids=str)
def test_what_is_no_json_object_is_refused(server: Server, body: bytes):
    status, _, content = request(server.server_port, "POST", "/label", body, JSON)
    assert status == 400 and "the body" in json.loads(content)["error"]


def test_large_bodies_and_those_without_a_length_are_refused(server: Server):
    fits = json.dumps({"text": ""}).encode()
    fits = fits[:-2] + b" " * (MAX_BODY - len(fits)) + fits[-2:]
    assert request(server.server_port, "POST", "/label", fits, JSON)[0] == 400  # no words
    for size in (MAX_BODY + 1, 8 * MAX_BODY):
        status, _, content = request(server.server_port, "POST", "/label", b" " * size, JSON)
        assert status == 413 and str(MAX_BODY) in json.loads(content)["error"]
    for length in ("", "Content-Length: -1\r\n", "Content-Length: x\r\n"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as raw:
            head = f"POST /label HTTP/1.1\r\nHost: localhost\r\n{length}\r\n"
            raw.sendall(head.encode())
            assert b" 411 " in raw.makefile("rb").readline()


def test_a_fault_of_ours_is_told_and_the_server_goes_on(
    server: Server, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    def fail(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Corrections, "save", fail)
        answer = post(server, "/correct", brackets="(1 a)")
    assert answer["status"] == 500 and "no space left" in answer["error"]
    assert "no space left" in capsys.readouterr().err
    assert post(server, "/label", text="a")["status"] == 200


def test_ports(model: Pipeline, server: Server, tmp_path: Path):
    corrections = Corrections(tmp_path / "c.txt")
    with pytest.raises(OSError, match=f"port {server.server_port} is in use"):
        Server(model, corrections, port=server.server_port, command=COMMAND)
    with pytest.raises(ValueError, match="port must be 0 to 65535, got 65536"):
        Server(model, corrections, port=65536, command=COMMAND)
    assert server.server_address[0] == "127.0.0.1"


def test_serving_ends_with_one_line(model: Pipeline, tmp_path: Path, monkeypatch, capsys):
    opened: list[str] = []
    monkeypatch.setattr("rntn_jax.annotate.serve.webbrowser.open", opened.append)
    monkeypatch.setattr("rntn_jax.annotate.serve.warm", lambda *_: None)
    monkeypatch.setenv("DISPLAY", ":0")

    def interrupt(self: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupt)
    for browser in (True, False):
        serve(model, tmp_path / "c.txt", port=0, browser=browser)
        address, ended = capsys.readouterr().out.split("\n", 1)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/ .*", address)
        assert ended.strip() == f"ended; corrections: {tmp_path / 'c.txt'}"
    assert len(opened) == 1 and opened[0].startswith("http://127.0.0.1:")


def test_a_kill_loses_nothing(tmp_path: Path):
    file = tmp_path / "c.txt"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.annotate.live_server", str(file)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = int(re.findall(r":(\d+)/", process.stdout.readline())[0])
        trees = [f"({label} (2 a) (-1 film{number}))" for label in (0, 4) for number in range(5)]
        for tree in trees:
            body = json.dumps({"brackets": tree}).encode()
            assert request(port, "POST", "/correct", body, JSON)[0] == 200
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
    assert file.read_text().split("\n") == [*trees[5:], ""]
