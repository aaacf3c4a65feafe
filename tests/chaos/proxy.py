"""A proxy before MLflow that does to requests what a bad network and a bad server do."""

import contextlib
import http.client
import http.server
import random
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Any

HELD_S = 300.0  # a bound on what ends with the outage
SLOWEST_S = 3.0
BROKEN = 500


@dataclass(slots=True)
class Fault:
    """What happens to requests now."""

    kind: str = "none"  # slow | 500s | reset
    draw: random.Random = field(default_factory=random.Random)
    over: threading.Event = field(default_factory=threading.Event)
    hit: int = 0  # requests since its beginning

    def clear(self) -> None:
        self.kind = "none"
        self.over.set()


class Proxy:
    """Listens on a port of its own, and passes each request on to `port` over a connection of its own."""

    def __init__(self, port: int) -> None:
        self.behind, self.fault, self.port = port, Fault(), 0
        self._listener: http.server.ThreadingHTTPServer | None = None
        self.listen()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def listen(self) -> None:
        """Listens, again on the same port where it has listened before."""
        self._listener = _Listener(("127.0.0.1", self.port), type("Bound", (_Handler,), {"proxy": self}))
        self.port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), name="proxy", daemon=True).start()

    def refuse(self) -> None:
        """Refuses connections until `listen`."""
        if self._listener is not None:
            self._listener.shutdown()
            self._listener.server_close()
            self._listener = None

    def close(self) -> None:
        self.fault.clear()
        self.refuse()


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Says nothing: clients that have gone away are expected."""


class _Handler(http.server.BaseHTTPRequestHandler):
    proxy: Proxy

    def _pass_on(self) -> None:
        fault = self.proxy.fault
        kind, draw = fault.kind, fault.draw
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        before = kind != "none" and draw.random() < 0.5  # otherwise the server does it, and the answer is harmed
        fault.hit += 1
        if kind == "slow" and before:
            fault.over.wait(draw.uniform(0.3, SLOWEST_S))
        elif kind == "500s" and before:
            return self._answer(BROKEN, {}, b"no")
        elif kind == "reset" and before:
            self._ask(body[: draw.randint(0, len(body))], cut=True)
            return self._reset()
        try:
            status, headers, answer = self._ask(body)
        except (OSError, http.client.HTTPException):
            return self._reset()
        if kind == "slow":
            fault.over.wait(draw.uniform(0.3, SLOWEST_S))
        elif kind == "500s":
            status, answer = BROKEN, b"no"
        elif kind == "reset":
            if draw.random() < 0.5:
                self._answer(status, headers, answer, draw.randint(0, max(0, len(answer) - 1)))
            return self._reset()
        return self._answer(status, headers, answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def _ask(self, body: bytes, cut: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The server's answer; with `cut` nothing, because the request breaks off."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.behind, timeout=HELD_S)
        with contextlib.closing(connection):
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "accept-encoding"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            if cut:
                return 0, {}, b""
            reply = connection.getresponse()
            kept = {name: value for name, value in reply.getheaders() if name.lower() == "content-type"}
            return reply.status, kept, reply.read()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])

    def _reset(self) -> None:
        """Closes the connection as a crashed machine does: with RST."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
