"""`python -m tests.engine`: the embedded engine in the foreground, until SIGTERM or SIGINT.

Writes <dir>/env, which exports what the `st2` command needs, once the API listens.
"""

import argparse
import logging
import os
import shlex
import shutil
import signal
import sys
import threading
from pathlib import Path

from tests.engine import api
from tests.engine.access import ADMIN
from tests.engine.engine import Engine
from tests.engine.http_server import Server


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.engine", description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(".engine"), help="where state is kept")
    parser.add_argument("--api-port", type=int, default=9101, help="0 takes a free one")
    parser.add_argument("--pack", action="append", default=[], type=Path, help="pack to register")
    parser.add_argument(
        "--config", action="append", default=[], metavar="PACK=FILE", help="config of a pack"
    )
    parser.add_argument(
        "--purge-inquiries", action="store_true", help="let inquiries time out; off as in st2"
    )
    parser.add_argument("--log-level", default="INFO")
    return parser.parse_args(arguments)


def write_env(engine, api_url, password):
    """Write <dir>/env; the API key in it is made once and kept."""
    saved = engine.store.get("setting", "api_key")
    if not saved:
        saved = {"id": "api_key", "key": engine.access.new_api_key(ADMIN)["key"]}
        engine.store.put("setting", saved)
    root = engine.root.resolve()
    exports = {
        "ST2_BASE_URL": api_url,
        "ST2_API_URL": f"{api_url}/v1",
        "ST2_AUTH_URL": f"{api_url}/auth/v1",
        "ST2_STREAM_URL": f"{api_url}/v1",
        "ST2_API_KEY": saved["key"],
        # An empty one: that of a real StackStorm on this machine must not mix in.
        "ST2_CONFIG_FILE": str(root / "st2.conf"),
        "ST2_ENGINE_USER": ADMIN,
        "ST2_ENGINE_PASSWORD": password,
    }
    (root / "st2.conf").write_text("[cli]\ncache_token = False\n")
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()]
    # The folder of the `st2` command; after the user's own, which stay what they are.
    lines.append(f'export PATH="$PATH":{shlex.quote(str(Path(sys.executable).parent))}\n')
    path = root / "env"
    path.touch(mode=0o600)
    path.write_text("".join(lines))


def main(arguments=None):
    """Run until a signal; returns the exit status."""
    options = parse_arguments(arguments)
    logging.basicConfig(
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # A request is short and a step of a workflow long: requests must not wait 5 ms for each.
    sys.setswitchinterval(0.001)
    done = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: done.set())
    try:
        server = Server(options.api_port)
    except (OSError, OverflowError) as e:
        reason = getattr(e, "strerror", None) or e
        print(f"--api-port {options.api_port}: {reason} on 127.0.0.1", file=sys.stderr)
        return 1
    api_url = f"http://127.0.0.1:{server.server_address[1]}"
    password = os.environ.get("ST2_ENGINE_PASSWORD", "changeme")
    engine = Engine(options.dir, f"{api_url}/v1", password, options.purge_inquiries)
    for config in options.config:
        pack, _, file = config.partition("=")
        shutil.copy(file, engine.root / "configs" / f"{pack}.yaml")
    for path in options.pack:
        engine.refresh(path)
    server.serve(api.build(engine), api.authenticator(engine.access))
    write_env(engine, api_url, password)
    engine.start()
    print(f"engine ready: API {api_url} (source {options.dir}/env)", flush=True)
    done.wait()
    engine.stop()
    server.stop()
    engine.store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
