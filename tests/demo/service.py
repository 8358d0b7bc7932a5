"""The small HTTP service of the demo: it answers /metrics, which Prometheus scrapes, until killed.

Standard library only; run as `python service.py --name NAME --port PORT` (see servicectl).
"""

import argparse
import http.server
import time


class Handler(http.server.BaseHTTPRequestHandler):
    """GET /metrics in Prometheus's text format; 404 for all else."""

    def do_GET(self):
        """Answer one request."""
        known = self.path.split("?")[0] == "/metrics"
        uptime = time.monotonic() - self.server.started
        text = "# HELP demo_uptime_seconds Seconds since the service started.\n"
        text += f"# TYPE demo_uptime_seconds gauge\ndemo_uptime_seconds {uptime:.3f}\n"
        body = text.encode() if known else b"only /metrics is here\n"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing: Prometheus asks every second."""


def main():
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.started = time.monotonic()
    print(f"{options.name} listens on port {options.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
