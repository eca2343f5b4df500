"""Real servers for protocol files: Debian's NATS, and nginx with nchan, on loopback."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.programs import require, require_file
from tests.system.harness import STUCK_S, free_port

_NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


#: NATS settings: clients without a login act as `loadgen`, who may not use subjects below `secret`.
_ONE_USER = """
        authorization {
          users = [{
            user: loadgen, password: "p4ss-w0rd"
            permissions: {publish: {deny: "secret.>"}, subscribe: {deny: "secret.>"}}
          }]
        }
        no_auth_user: loadgen
"""


@contextmanager
def nats(folder: Path, authorization: str = _ONE_USER) -> Iterator[str]:
    """Run NATS with a WebSocket listener and ``authorization`` in its configuration; yield its URL."""
    command = require("nats-server")
    port = free_port()
    config = folder / "nats.conf"
    config.write_text(
        f"""
        host: 127.0.0.1
        port: {free_port()}
        websocket {{ host: 127.0.0.1, port: {port}, no_tls: true }}
        {authorization}
        """
    )
    with _running([command, "-c", str(config)], port, folder):
        yield f"ws://127.0.0.1:{port}"


@contextmanager
def nchan(folder: Path, kept: int = 0) -> Iterator[str]:
    """Run nginx with the locations that `nchan.yaml` and `nchan-sse.yaml` use; yield its URL.

    A channel keeps the last ``kept`` messages for clients that reconnect. Below `/own` a client needs a token
    to subscribe, in a header or in the URL: `secret-N`, where N is the last segment of the channel.
    """
    command = require("nginx")
    require_file(_NCHAN, "nchan", "libnginx-mod-nchan")
    port = free_port()
    config = folder / "nginx.conf"
    temporary = "".join(
        f"{name}_temp_path {folder / name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"""
        load_module {_NCHAN};
        daemon off;
        worker_processes 1;
        pid {folder / "nginx.pid"};
        error_log {folder / "error.log"};
        events {{ worker_connections 2048; }}
        http {{
          access_log off;
          client_body_buffer_size 1m;
          {temporary}
          server {{
            listen 127.0.0.1:{port};
            location ~ ^/sub/(.+)$ {{
              nchan_subscriber websocket eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest;
            }}
            location ~ ^/own/sub/(?<name>.+/(?<last>[^/]+))$ {{
              set $given "$http_authorization$arg_token";
              if ($given != "Bearer secret-$last") {{ set $wrong 1; }}
              if ($given = "secret-$last") {{ set $wrong ""; }}
              if ($wrong) {{ return 401; }}
              nchan_subscriber eventsource; nchan_channel_id $name; nchan_subscriber_first_message newest;
            }}
            location ~ ^/(?:own/)?pub/(.+)$ {{
              nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length {kept};
            }}
          }}
        }}
        """
    )
    with _running([command, "-c", str(config), "-p", str(folder)], port, folder):
        yield f"ws://127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + STUCK_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{command[0]} does not run:\n{log.read_text()}") from None
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STUCK_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
