"""Object stores to test against: servers of their own process on this machine, and credentials that mean nothing."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PATIENCE_S = 120.0
BUCKET = "bucket"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "canary-of-a-secret"}

# The emulator of Google's does not know conditions; here it is taught the one that the store rests upon.
EMULATOR = """
import sys
from http import HTTPStatus
from gcp_storage_emulator.handlers import objects

insert = objects.insert

def conditional(request, response, storage, *arguments, **named):
    if request.query.get("ifGenerationMatch") == ["0"]:
        name = request.data["meta"]["name"]
        if name in storage.objects.get(request.params["bucket_name"], {}):
            response.status = HTTPStatus.PRECONDITION_FAILED
            return
    insert(request, response, storage, *arguments, **named)

objects.insert = conditional
from gcp_storage_emulator.__main__ import main
main(sys.argv[1:])
"""


@dataclass(frozen=True, slots=True)
class Server:
    """An object store with one bucket."""

    kind: str  # s3 | gs
    url: str

    @property
    def environment(self) -> dict[str, str]:
        """Of its clients."""
        if self.kind == "gs":
            return {"STORAGE_EMULATOR_HOST": self.url}
        return {"AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": "us-east-1", **CREDENTIALS}

    def storage(self, prefix: str) -> str:
        return f"{self.kind}://{BUCKET}/{prefix}"


@contextmanager
def s3(host: str = "127.0.0.1") -> Iterator[Server]:
    """moto's server."""
    port = _free_port()
    with _running([sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)], port):
        made = Server("s3", f"http://127.0.0.1:{port}")
        urllib.request.urlopen(urllib.request.Request(f"{made.url}/{BUCKET}", method="PUT"), timeout=60).close()
        yield made


@contextmanager
def gs(*, conditions: bool = True) -> Iterator[Server]:
    """An emulator of Google's; without `conditions` as it comes."""
    port = _free_port()
    start = ["start", f"--port={port}", "--host=127.0.0.1", f"--default-bucket={BUCKET}", "--in-memory", "--quiet"]
    code = ["-c", EMULATOR] if conditions else ["-m", "gcp_storage_emulator"]
    with _running([sys.executable, *code, *start], port):
        yield Server("gs", f"http://127.0.0.1:{port}")


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen(command, env=kept, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(port):
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{command} does not answer"
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
