"""A page on this machine: type a sentence, see its tree, correct it.

The server listens on 127.0.0.1 alone. Requests that name another host (DNS rebinding), or come from
a page of another origin, are refused; methods, paths, types and sizes are fixed.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socketserver
import sys
import threading
import traceback
import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rntn_jax.annotate import classifier, live
from rntn_jax.annotate.corrections import Corrections
from rntn_jax.annotate.pipeline import Pipeline
from rntn_jax.data import DataError, Tree, parse_tree

__all__ = ["MAX_BODY", "Server", "num_classes", "serve", "warm"]

MAX_BODY = 16 * 1024  # bytes of a request
_HOSTS = ("127.0.0.1", "localhost")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_JSON = "application/json; charset=utf-8"


class Server(ThreadingHTTPServer):
    """The server of the live page.

    Attributes:
        model: the model that answers.
        corrections: the file of the corrections.
        address: of the page, ``http://127.0.0.1:8765/``.
    """

    daemon_threads = True

    def __init__(
        self, model: Pipeline, corrections: Corrections, *, port: int = 8765, command: str
    ):
        """Binds the port; `serve_forever` answers.

        Args:
            model: the model that answers.
            corrections: the file of the corrections.
            port: 0 takes any that is free.
            command: how to train on the corrections, with ``{}`` for the name of the file.

        Raises:
            OSError: when the port is in use or may not be used.
            ValueError: when it is none.
        """
        if not 0 <= port < 65536:
            raise ValueError(f"port must be 0 to 65535, got {port}")
        self.model, self.corrections = model, corrections
        self.num_classes = num_classes(model)
        page = live.page(corrections, command, self.num_classes)
        (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', page)
        self.page = page.encode()
        self.policy = policy + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise OSError(
                    f"port {port} is in use: choose another, or 0 for any that is free"
                ) from None
            raise OSError(f"port {port} cannot be used: {error.strerror}") from None

    def server_bind(self) -> None:
        """Binds without asking a name server for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a browser that has gone away.

        Args:
            request: of the browser.
            client_address: its address.
        """
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.server_port}/"


def serve(
    model: Pipeline,
    corrections: str | os.PathLike[str],
    *,
    port: int = 8765,
    command: str = "./launch.sh sentiment --train={}",
    browser: bool = True,
) -> None:
    """Serves the page until Ctrl-C.

    Args:
        model: the model that answers.
        corrections: file of the corrections, made with the first one.
        port: of 127.0.0.1; 0 takes any that is free.
        command: how to train on the corrections, with ``{}`` for the name of the file.
        browser: whether to open a browser, where there is one.

    Raises:
        DataError: when the file of corrections holds something else.
        OSError: when the port or the file cannot be used.
    """
    file = Corrections(corrections, num_classes(model))
    server = Server(model, file, port=port, command=command)
    try:
        with server:
            print("compiling (once for each length of sentence) ...", file=sys.stderr, flush=True)
            warm(model, (16, 32))
            threading.Thread(target=warm, args=(model, (64, 128)), daemon=True).start()
            print(f"{server.address}  (Ctrl-C ends it)", flush=True)
            if browser and _has_browser():
                webbrowser.open(server.address)
            server.serve_forever()
    except KeyboardInterrupt:
        print(f"\nended; corrections: {server.corrections.path}")


def num_classes(model: Pipeline) -> int:
    """The number of the model's classes."""
    return classifier.num_classes(model.classifier)


def warm(model: Pipeline, sizes: tuple[int, ...]) -> None:
    """Compiles what sentences of up to so many words need.

    Args:
        model: the model that answers.
        sizes: numbers of words.
    """
    for size in sizes:
        live.answer(model, live.build(model, "word " * size))


def _has_browser() -> bool:
    """Whether there is a screen for one: a browser within the terminal would take it over."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(map(os.environ.get, screens))


class _Refused(Exception):
    """A request that gets no answer but an error."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server  # type: ignore[assignment]
    timeout = 30  # seconds without a byte

    def do_GET(self) -> None:
        self._answer(_GET)

    def do_POST(self) -> None:
        self._answer(_POST)

    def _answer(self, routes: dict[str, Callable[..., Any]]) -> None:
        try:
            body = self._body()  # read whatever is wrong, so that the refusal can be read too
            self._check_origin()
            if self.path not in routes:
                if self.path in _GET or self.path in _POST:
                    raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "no such method here")
                raise _Refused(HTTPStatus.NOT_FOUND, "there is no such page")
            if routes is _GET:
                found = _GET[self.path](self.server)
            else:
                found = _POST[self.path](self.server, self._content(body))
        except _Refused as refused:
            return self._reply(refused.status, {"error": str(refused)})
        except (DataError, UnicodeError) as error:
            return self._reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except (TimeoutError, ConnectionError):
            raise  # nobody is there to be told
        except Exception as error:  # the page says so, and goes on
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
            return self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": message})
        self._reply(HTTPStatus.OK, found)

    def _check_origin(self) -> None:
        """Refuses what was not asked for by the page itself, or by somebody on this machine."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].partition(":")[0].lower() not in _HOSTS:
            raise _Refused(HTTPStatus.FORBIDDEN, "requests must name the host 127.0.0.1")
        origins = self.headers.get_all("Origin") or []
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            raise _Refused(HTTPStatus.FORBIDDEN, "requests from other pages are refused")
        sites = self.headers.get_all("Sec-Fetch-Site") or []
        typed = self.command == "GET" and self.path == "/"  # a link to the page may be followed
        if any(site not in ("same-origin", "none") for site in sites) and not typed:
            raise _Refused(HTTPStatus.FORBIDDEN, "requests from other pages are refused")

    def _length(self) -> int | None:
        """The length of the body that is to come, None where it is not said."""
        said = self.headers.get("Content-Length", "")
        return int(said) if re.fullmatch("[0-9]{1,15}", said) else None

    def _body(self) -> bytes:
        return self.rfile.read(min(self._length() or 0, 64 * MAX_BODY))

    def _content(self, body: bytes) -> dict[str, Any]:
        """The object in the body."""
        length = self._length()
        if length is None:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length must be a number")
        if length > MAX_BODY:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAX_BODY} bytes"
            )
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body is no JSON") from None
        if not isinstance(content, dict):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body must be an object")
        return content

    def _reply(self, status: HTTPStatus, content: Any) -> None:
        is_page = isinstance(content, bytes)
        body = content if is_page else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8" if is_page else _JSON)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", self.server.policy)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses: other methods, and what is no HTTP."""
        del explain
        status = HTTPStatus(code)
        self._reply(status, {"error": message or status.phrase})

    def version_string(self) -> str:
        """The server's name, without versions."""
        return "rntn_jax"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for what matters."""


def _field(content: dict[str, Any], name: str, kind: type) -> Any:
    if type(content.get(name)) is not kind:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{name!r} must be {kind.__name__}")
    return content[name]


def _tree(server: Server, content: dict[str, Any]) -> Tree:
    tree = parse_tree(_field(content, "brackets", str), num_classes=server.num_classes)
    live.check_size(tree.tokens)
    return tree


def _label(server: Server, content: dict[str, Any]) -> dict[str, Any]:
    """The tree of a text, or of brackets; as it was corrected, if it was."""
    if "brackets" in content:
        tree = _tree(server, content)
    else:
        tree = live.build(server.model, _field(content, "text", str))
    return live.answer(server.model, server.corrections.find(tree.tokens) or tree)


def _phrase(server: Server, content: dict[str, Any]) -> dict[str, Any]:
    """A tree with one more phrase, which is written."""
    begin, end = (_field(content, name, int) for name in ("begin", "end"))
    tree = live.with_phrase(server.model, _tree(server, content), begin, end)
    server.corrections.save(tree)
    return {**live.answer(server.model, tree), **_corrections(server)}


def _correct(server: Server, content: dict[str, Any]) -> dict[str, Any]:
    """Writes a corrected tree; takes it out where nothing in it is corrected any more."""
    tree = _tree(server, content)
    if (tree.labels >= 0).any() or live.build(server.model, tree.text) != tree:
        server.corrections.save(tree)
    else:
        server.corrections.remove(tree.tokens)
    return _corrections(server)


def _remove(server: Server, content: dict[str, Any]) -> dict[str, Any]:
    server.corrections.remove(_tree(server, content).tokens)
    return _corrections(server)


def _corrections(server: Server) -> dict[str, Any]:
    return {"corrections": live.listed(server.corrections)}


_GET: dict[str, Callable[..., Any]] = {
    "/": lambda server: server.page,
    "/corrections": _corrections,
}
_POST = {"/label": _label, "/phrase": _phrase, "/correct": _correct, "/remove": _remove}
