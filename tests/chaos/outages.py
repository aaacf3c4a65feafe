"""What can be the matter with an MLflow server, each of it with a beginning and an end."""

import random
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.disk import Disk
from tests.chaos.proxy import Proxy
from tests.tracking_maker import Server, until

KINDS = ("killed", "stopped", "slow", "500s", "refused", "reset", "disk full")
FREE = 32_768  # bytes at most that a full disk has left
SERVER = "server"


@dataclass
class Service:
    """A server, the disk of its database, and the proxy by which it is reached."""

    full: Disk
    draw: random.Random = field(default_factory=random.Random)
    server: Server = field(init=False)
    proxy: Proxy = field(init=False)

    def __post_init__(self) -> None:
        folder = Path(self.full.folder, SERVER)
        folder.mkdir()
        self.server = Server(folder)
        self.server.start()
        self.proxy = Proxy(self.server.port)

    def begin(self, kind: str) -> None:
        weather = self.proxy.weather
        weather.draw, weather.hit, weather.over = random.Random(self.draw.random()), 0, threading.Event()
        weather.kind = kind
        if kind == "killed":
            self.server.kill()
        elif kind == "stopped":
            self.server.signal(signal.SIGSTOP)
            until(lambda: self.server.state() == "T")  # a signal is sent before it is felt
        elif kind == "refused":
            self.proxy.refuse()
        elif kind == "disk full":
            self.full.leave(self.draw.randrange(FREE), self.server.pids())

    def end(self) -> None:
        kind = self.proxy.weather.kind
        if kind == "killed":
            self.server.start()
        elif kind == "stopped":
            self.server.signal(signal.SIGCONT)
        elif kind == "refused":
            self.proxy.listen()
        elif kind == "disk full":
            self.full.make_room()
        self.proxy.weather.clear()

    @property
    def hit(self) -> bool:
        """Whether a request has come since the beginning; one that is refused never comes."""
        return self.proxy.weather.kind not in ("refused", "disk full") and self.proxy.weather.hit > 0

    def close(self) -> None:
        self.proxy.close()
        self.server.kill()
