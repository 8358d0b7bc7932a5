"""An HTTP server in this process, for what a test must have answered."""

import http.server
import threading


class LocalServer:
    """Serves on a free port of 127.0.0.1 for as long as the block lasts."""

    def __init__(self, handler):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = "127.0.0.1:%d" % self._server.server_address[1]
        self.url = "http://" + self.address

    def __enter__(self):
        # The interval is how long the end of the block waits.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """Says nothing of its requests."""

    def log_message(self, *args):
        pass
