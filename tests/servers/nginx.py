"""Serves a folder with nginx, as fast as one process can: for rates and for real HTTP, not for faults.

Everything it writes is in a temporary folder; it works as root and as any other user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.servers.faults import bind
from tests.servers.handle import authority

START_LIMIT: Final = 10.0
STOP_LIMIT: Final = 5.0
TRIES: Final = 5

# One process without a master: no worker that drops to another user and then cannot read the folder.
_CONFIGURATION: Final = """\
daemon off;
master_process off;
pid "{folder}/nginx.pid";
events {{ worker_connections 4096; }}
http {{
    types {{
        image/jpeg jpg jpeg; image/png png; image/webp webp; image/gif gif; image/avif avif;
        text/html html; text/plain txt; application/xml xml;
    }}
    default_type application/octet-stream;
    log_format line '$msec $server_addr "$http_host" "$request_uri" $status "$http_user_agent"';
    access_log {access_log};
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    server {{
        {listen}
        root "{root}";
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx; `access_log` is None unless asked for; a line follows its answer."""

    port: int
    hosts: tuple[str, ...]
    pid: int
    root: Path
    access_log: Path | None = None

    def url(self, path: str, host: str | None = None) -> str:
        """The address of a file below `root`, on the first host unless another is named."""
        return f"http://{authority(host or self.hosts[0], self.port)}/{path.lstrip('/')}"


class NginxMissing(RuntimeError):
    """nginx is not installed here."""


def find_nginx() -> str | None:
    """Debian keeps nginx where only root's PATH looks."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@contextlib.contextmanager
def running_nginx(root: Path, hosts: Sequence[str] = ("127.0.0.1",), access_log: bool = False) -> Iterator[Nginx]:
    """nginx on one port of all `hosts`, serving the files below `root`; raises `NginxMissing` without one."""
    program = find_nginx()
    if program is None:
        raise NginxMissing("nginx is not installed: apt-get install nginx-light")
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        folder = Path(name)
        log = folder / "access.log" if access_log else None
        process, port = _start(program, folder, root.resolve(), hosts, log)
        try:
            yield Nginx(port, tuple(hosts), process.pid, root, log)
        finally:
            _end(process)


def _start(
    program: str, folder: Path, root: Path, hosts: Sequence[str], log: Path | None
) -> tuple[subprocess.Popen[bytes], int]:
    """nginx cannot choose a port itself, and one that was free may be taken by now: then try another."""
    errors, pid_file = folder / "error.log", folder / "nginx.pid"
    for _ in range(TRIES):
        port = _free_port(hosts)
        configuration = _CONFIGURATION.format(
            folder=folder,
            root=root,
            access_log=f'"{log}" line' if log else "off",
            listen=" ".join(f"listen {authority(host, port)} backlog=1024;" for host in hosts),
        )
        (folder / "nginx.conf").write_text(configuration, encoding="utf-8")
        process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(errors)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={key: value for key, value in os.environ.items() if key != "NGINX"},
        )
        if _accepts(process, pid_file, hosts[0], port):
            return process, port
        _end(process)
        pid_file.unlink(missing_ok=True)
    raise RuntimeError(f"nginx did not start in {TRIES} tries: {errors.read_text(encoding='utf-8')[-2000:]}")


def _free_port(hosts: Sequence[str]) -> int:
    sockets = bind(hosts)
    port: int = sockets[0].getsockname()[1]
    for sock in sockets:
        sock.close()
    return port


def _accepts(process: subprocess.Popen[bytes], pid_file: Path, host: str, port: int) -> bool:
    """The pid file comes after every bind has succeeded, so whoever accepts then is this nginx."""
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end and process.poll() is None:
        if pid_file.exists():
            with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
                return True
        time.sleep(0.01)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_LIMIT)
