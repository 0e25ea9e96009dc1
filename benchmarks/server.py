"""A corpus folder -> the same files over HTTP on several loopback addresses, by nginx.

nginx, so that the server is never what is measured; many addresses, so that per-host limits can be met.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path

from benchmarks.corpus import default_root, pictures

START_LIMIT = 5.0
STOP_LIMIT = 5.0

# The kernel cuts `backlog` to net.core.somaxconn; a client with one connection a picture needs all of it.
CONFIG = """\
{user}worker_processes 1;
worker_rlimit_nofile 16384;
daemon off;
pid "{home}/nginx.pid";
error_log "{home}/error.log" warn;
events {{ worker_connections 8192; }}
http {{
    log_format short "$uri $status";
    access_log {log};
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    keepalive_timeout 75s;
    open_file_cache max=8000 inactive=600s;
    open_file_cache_valid 600s;
    types {{ text/html html; image/jpeg jpg; image/png png; image/webp webp; image/gif gif; }}
    default_type application/octet-stream;
    client_body_temp_path "{home}/body";
    proxy_temp_path "{home}/proxy";
    fastcgi_temp_path "{home}/fastcgi";
    uwsgi_temp_path "{home}/uwsgi";
    scgi_temp_path "{home}/scgi";
    server {{
{listen}
        root "{root}";
    }}
}}
"""


@contextmanager
def serve(folder: Path, addresses: int = 16, log: Path | None = None) -> Iterator[list[str]]:
    """Serve `folder` and yield one base URL for each of 127.0.0.1 ... 127.0.0.`addresses`, all on one port.

    Args:
        log: where paths and statuses are written, a line each.

    Only Linux answers on the whole of 127.0.0.0/8; elsewhere keep `addresses` at 1.
    """
    if not 1 <= addresses <= 254:
        raise ValueError(f"addresses must be 1 to 254, not {addresses}")
    hosts = [f"127.0.0.{last}" for last in range(1, addresses + 1)]
    with tempfile.TemporaryDirectory(prefix="crawler-bench-") as home:
        port = _free_port(hosts)
        config = Path(home) / "nginx.conf"
        config.write_text(_config(folder.resolve(), home, hosts, port, log))
        process = subprocess.Popen(
            [_nginx(), "-p", home, "-c", str(config), "-e", f"{home}/error.log"], stdin=subprocess.DEVNULL
        )
        try:
            _wait_ready(process, hosts, port, Path(home) / "error.log")
            yield [f"http://{host}:{port}" for host in hosts]
        finally:
            _stop(process)


def write_list(path: Path, folder: Path, base_urls: Sequence[str], count: int) -> Path:
    """Write `count` unlike URLs, one a line, going round the files and round the hosts."""
    names = [picture.name for picture in pictures(folder)]
    if not names:
        raise ValueError(f"no pictures in {folder}")
    pairs = islice(zip(cycle(names), cycle(base_urls), strict=False), count)
    path.write_text("".join(f"{base}/{name}?n={number}\n" for number, (name, base) in enumerate(pairs)))
    return path


def _config(folder: Path, home: str, hosts: Sequence[str], port: int, log: Path | None) -> str:
    # Started by root, nginx would drop to an account that may not read the corpus.
    user = f"user {getpass.getuser()};\n" if os.geteuid() == 0 else ""
    listen = "\n".join(f"        listen {host}:{port} backlog=16384;" for host in hosts)
    return CONFIG.format(user=user, home=home, listen=listen, root=folder, log=f'"{log}" short' if log else "off")


def _nginx() -> str:
    # Distributions install it where only root's PATH looks.
    folders = (os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")
    found = shutil.which("nginx", path=os.pathsep.join(folders))
    if found is None:
        raise RuntimeError("nginx is not installed; it serves the corpus in benchmarks")
    return found


def _free_port(hosts: Sequence[str]) -> int:
    """A port free on every address; should another take it before nginx does, the start fails and says so."""
    for _ in range(20):
        with ExitStack() as held:
            port = 0
            try:
                for host in hosts:
                    sock = held.enter_context(socket.socket())
                    sock.bind((host, port))
                    port = sock.getsockname()[1]
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port is free on all of {hosts[0]} ... {hosts[-1]}")


def _wait_ready(process: subprocess.Popen[bytes], hosts: Sequence[str], port: int, log: Path) -> None:
    limit = time.monotonic() + START_LIMIT
    for host in hosts:
        while not _answers(host, port):
            if process.poll() is not None or time.monotonic() > limit:
                said = log.read_text() if log.exists() else ""
                raise RuntimeError(f"nginx did not start on {host}:{port}\n{said}")
            time.sleep(0.02)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.server",
        description="Serve a folder and write a URL list, until interrupted.",
    )
    parser.add_argument("--folder", type=Path, default=default_root() / "mixed")
    parser.add_argument("--list", type=Path, default=Path("urls.txt"), help="the URL list to write")
    parser.add_argument("--count", type=int, default=3000, help="URLs in the list")
    parser.add_argument("--addresses", type=int, default=16)
    args = parser.parse_args()
    # A plain SIGTERM would end this process and leave nginx behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with serve(args.folder, args.addresses) as urls:
        write_list(args.list, args.folder, urls, args.count)
        print(f"{urls[0]} ... {urls[-1]}; {args.count} URLs in {args.list}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
