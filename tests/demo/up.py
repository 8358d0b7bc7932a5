"""`make up`: the embedded engine with this pack, in the foreground, until Ctrl-C.

Keeps its state in .engine/, and writes .engine/env for the `st2` command.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import yaml

from tests.demo.servers import ROOT, Engine, ServerError

FOLDER = ROOT / ".engine"
LOG_LINES = 15
EXAMPLE = """\
curl {url} -H 'Content-Type: application/json' -d '
    {{"version": "4", "status": "firing", "receiver": "try", "groupKey": "try",
     "alerts": [{{"status": "firing", "startsAt": "{now}",
                 "labels": {{"alertname": "HostDown", "instance": "127.0.0.1:9100"}}}}]}}'"""


def parse_arguments(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo.up", description=__doc__)
    parser.add_argument("--api-port", type=int, default=9101, help="StackStorm's API")
    parser.add_argument("--listener-port", type=int, default=8090, help="PoundCake's webhook")
    parser.add_argument("--dir", type=Path, default=FOLDER, help="where state is kept")
    return parser.parse_args(arguments)


def usage(engine):
    """What a newcomer wants to know of a running engine."""
    env = os.path.relpath(engine.folder / "env")
    log = os.path.relpath(engine.log_path)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"""\
PoundCake is up, on the embedded engine. Ctrl-C stops it; its state stays in {engine.folder.name}/.

  StackStorm's API     {engine.api_url}
  PoundCake's webhook  {engine.webhook_url}
  log                  {log}

In another terminal, from this folder:
  . {env}
  st2 action list --pack poundcake

Enable a remediation that only pings, and post an alert as Alertmanager does:
  st2 run poundcake.enable_remediation name=host_down
  {EXAMPLE.format(url=engine.webhook_url, now=now)}

See what became of it (remediated after some seconds, as the host answers):
  st2 run poundcake.list_alerts
  st2 run poundcake.get_request request_id=<from the answer>
"""


def saved_config(folder):
    """The pack's config that an earlier run has left; {} at the first."""
    path = folder / "configs/poundcake.yaml"
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def in_use(port):
    """Whether somebody listens on this TCP port of 127.0.0.1 already."""
    with socket.socket() as probe:
        # As servers do: what an earlier run's connections left behind is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def interrupt(*_):
    """SIGTERM as Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments=None):
    """Run until a signal; returns the exit status."""
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    for name in ("api_port", "listener_port"):
        port = getattr(options, name)
        if in_use(port):
            print(f"Port {port} is in use; choose another: make up {name.upper()}={port + 1000}")
            return 1
    # Of ours, only the port.
    config = {**saved_config(options.dir), "port": options.listener_port}
    engine = Engine(options.dir, api_port=options.api_port, **config)
    try:
        with engine:
            print(usage(engine), flush=True)
            while engine.running:
                time.sleep(0.5)
        print("The engine ended by itself. The end of its log:", file=sys.stderr)
        print("\n".join(engine.log().splitlines()[-LOG_LINES:]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # Once more, for a second Ctrl-C in the middle of stopping.
        with contextlib.suppress(KeyboardInterrupt):
            engine.stop()
        print("\nStopped.")
        return 0
    except ServerError as error:
        print(f"The engine does not start: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
