"""The downloader against a TLS server that lies, breaks off and redirects."""

import contextlib
import datetime
import hashlib
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import HTTPSHandler, OpenerDirector

import pytest

from pipeline.datasets.download import ATTEMPTS, Pinned, fetch, secure_opener
from pipeline.errors import EnvironmentFault
from tests.makers import snapshot

CONTENT = bytes(range(256)) * 4000
FLIPPED = CONTENT[:-1] + b"\0"
REDIRECTS = {
    "/to-http": "http://localhost/x",
    "/to-file": "file:///etc/passwd",
    "/to-metadata": "https://169.254.169.254/latest/meta-data/",
    "/to-itself": "/to-itself",
    "/to-good": "/good",
}


class Liar(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path in REDIRECTS:
            self.send_response(302)
            self.send_header("Location", REDIRECTS[self.path])
            self.end_headers()
            return
        if self.path == "/busy-once" and len(self.asked) == 1:
            self.send_error(503)
            return
        if self.path == "/none":
            self.send_error(404)
            return
        body = {"/flipped": FLIPPED, "/truncated": CONTENT[:1000], "/ten-times": CONTENT * 10}.get(self.path, CONTENT)
        self.send_response(200)
        if self.path == "/honest-about-its-size":
            body = CONTENT * 2
            self.send_header("Content-Length", str(len(body)))
        if self.path == "/truncated":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client hangs up when it has seen enough
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def certificate(folder: Path) -> Path:
    """A self-made certificate and its key for localhost, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "localhost.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, OpenerDirector]]:
    """The server's address, and an opener that trusts its certificate."""
    pem = certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("no_proxy", "NO_PROXY"):
            patch.setenv(variable, "localhost")
        opener = secure_opener(HTTPSHandler(context=ssl.create_default_context(cafile=str(pem))))
        yield f"https://localhost:{server.server_port}", opener
    server.shutdown()
    server.server_close()


def pinned(address: str) -> Pinned:
    return Pinned(name="f.bin", address=address, bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


def asked_for(tls: tuple[str, OpenerDirector], path: str, cache: Path) -> tuple[Path | None, str, list[str]]:
    """What came of it: the file, the message, and the paths that the server was asked for."""
    address, opener = tls
    Liar.asked = []
    try:
        found = fetch(pinned(address + path), cache, "MEND", opener, sleep=lambda _: None)
    except EnvironmentFault as fault:
        return None, str(fault), Liar.asked
    return found, "", Liar.asked


@pytest.mark.parametrize("path", ["/good", "/to-good", "/busy-once"])
def test_the_published_file_comes_once_and_stays(path: str, tls: tuple[str, OpenerDirector], tmp_path: Path) -> None:
    cache = tmp_path / "data" / ".downloads"
    found, message, asked = asked_for(tls, path, cache)
    assert found is not None, message
    assert found.read_bytes() == CONTENT
    assert [p.name for p in cache.iterdir()] == ["f.bin"]
    assert len(asked) <= 2
    assert asked_for(tls, path, cache)[2] == []  # the second time it is there


@pytest.mark.parametrize(
    ("path", "reason", "attempts"),
    [
        ("/flipped", "SHA-256", ATTEMPTS),
        ("/truncated", "1000 of", ATTEMPTS),
        ("/ten-times", "more than the published", ATTEMPTS),
        ("/honest-about-its-size", "server offers", ATTEMPTS),
        ("/to-http", "redirected to http://localhost", 1),
        ("/to-file", "not allowed", 1),
        ("/to-metadata", "redirected to https://169.254.169.254", 1),
        ("/none", "404", 1),
    ],
)
def test_anything_else_is_refused(
    path: str, reason: str, attempts: int, tls: tuple[str, OpenerDirector], tmp_path: Path
) -> None:
    found, message, asked = asked_for(tls, path, tmp_path / "data" / ".downloads")
    assert found is None
    assert reason in message
    assert message.endswith("MEND")
    assert len(asked) == attempts
    assert snapshot(tmp_path) == {}


def test_redirects_end(tls: tuple[str, OpenerDirector], tmp_path: Path) -> None:
    found, _, asked = asked_for(tls, "/to-itself", tmp_path)
    assert found is None
    assert len(asked) <= 20


def test_a_server_without_a_trusted_certificate_is_refused(tls: tuple[str, OpenerDirector], tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(pinned(f"{tls[0]}/good"), tmp_path, "MEND", secure_opener(), sleep=lambda _: None)


def test_a_damaged_file_in_the_cache_is_fetched_again(tls: tuple[str, OpenerDirector], tmp_path: Path) -> None:
    (tmp_path / "f.bin").write_bytes(FLIPPED)
    found, message, _ = asked_for(tls, "/good", tmp_path)
    assert found is not None, message
    assert found.read_bytes() == CONTENT


def test_only_https_is_fetched(tmp_path: Path) -> None:
    for address in ("http://localhost/x", "file:///etc/passwd", "ftp://localhost/x"):
        with pytest.raises(EnvironmentFault, match="only https"):
            fetch(pinned(address), tmp_path, "MEND")
