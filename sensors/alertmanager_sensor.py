"""The sensor: HTTP in, triggers out. It is thin; the work is done in actions/lib/poundcake."""

import os
import re
import signal
import sys
import threading
import time
from typing import Any, Dict, List, Optional

# StackStorm puts actions/lib on the path of actions only; the sensor shares the same library.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../actions/lib"))

from poundcake import settings as pack_settings  # noqa: E402
from poundcake.sensor.controller import Controller  # noqa: E402
from poundcake.sensor.known_health import KnownHealth  # noqa: E402
from poundcake.sensor.listener import Listener, Page  # noqa: E402
from poundcake.sensor.log import EventLog  # noqa: E402
from poundcake.sensor.metrics import Metrics  # noqa: E402
from poundcake.sensor.server import HttpServer  # noqa: E402
from poundcake.st2 import triggers  # noqa: E402
from poundcake.st2.client import StackStorm  # noqa: E402
from poundcake.views import older_api, status_page  # noqa: E402
from poundcake.views.status_page import StatusPage  # noqa: E402
from st2reactor.sensor.base import Sensor  # noqa: E402

# StackStorm stops restarting a sensor that dies twice within ten seconds of its start.
LEAST_LIFE_SECONDS = 12


class AlertmanagerSensor(Sensor):
    """Receives Alertmanager's notifications and runs the controller.

    ``__init__`` checks the config, ``setup`` opens the port, ``run`` decides until it is stopped.
    The listener acknowledges a notification only once it is in the inbox.
    """

    def __init__(self, sensor_service: Any, config: Optional[Dict[str, Any]] = None):
        super(AlertmanagerSensor, self).__init__(sensor_service=sensor_service, config=config)
        self._log = sensor_service.get_logger(__name__)
        self._born = time.time()
        self._server: Any = None
        self._controller: Any = None
        self._client = StackStorm(lambda: sensor_service.datastore_service.get_api_client())
        self._settings = pack_settings.from_config(self.config, self._client.get_secret)
        pack_settings.check_exposure(self._settings)

    def setup(self) -> None:
        metrics = Metrics()
        stackstorm = metrics.measured(self._client)
        schemas = triggers.Schemas(triggers.sensor_yaml(__file__))
        self._controller = Controller(
            self._settings,
            stackstorm,
            self._dispatch,
            _bus_answers,
            schemas,
            self._log,
            metrics=metrics,
        )
        controller = self._controller
        metrics.watch(controller.state)
        self._health = KnownHealth(controller.health)
        pages: List[Page] = [
            (re.compile("/metrics"), metrics.page),
            (status_page.PATH, StatusPage(self._settings, controller.snapshot, self._health.parts)),
        ]
        pages += older_api.pages(stackstorm, controller.snapshot)
        about = (self._settings, stackstorm, controller, self._log, pages, metrics, self._health)
        self._server = self._open_port(Listener(*about), metrics)
        signal.signal(signal.SIGTERM, self._terminate)

    def run(self) -> None:
        threading.Thread(target=self._server.run, name="listener", daemon=True).start()
        self._health.start()
        events = EventLog(self._log)
        host, port = self._settings.listener.host, self._settings.listener.port
        events.record("listening", f"listening on {host}:{port}")
        try:
            self._controller.run()
        except Exception as error:
            events.record("restarting", "the sensor ends; StackStorm starts it again", error)
            # If it died too soon after its start, StackStorm would stop restarting it.
            self._controller.stop("the sensor has failed and starts again")
            time.sleep(max(0.0, self._born + LEAST_LIFE_SECONDS - time.time()))
            raise
        # Stopped by a signal: end the way the signal would have, so that its sender sees it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def cleanup(self) -> None:
        if self._controller:
            self._controller.stop("the sensor is shutting down")
        if self._server:
            self._server.close()

    def add_trigger(self, trigger: Any) -> None:
        pass

    def update_trigger(self, trigger: Any) -> None:
        pass

    def remove_trigger(self, trigger: Any) -> None:
        pass

    def _dispatch(self, trigger: str, payload: Dict[str, Any], trace_tag: Optional[str]) -> None:
        self.sensor_service.dispatch(trigger=trigger, payload=payload, trace_tag=trace_tag)

    def _terminate(self, *_: Any) -> None:
        self._controller.stop("the sensor is shutting down")

    def _open_port(self, listener: Listener, metrics: Metrics) -> HttpServer:
        settings = self._settings
        try:
            return HttpServer(listener, settings.listener, self._log, metrics)
        except (OSError, ValueError) as error:
            raise RuntimeError(
                f"host, port: cannot listen on {settings.listener.host}:{settings.listener.port} "
                f"({error}); expected a free address of this machine. Set host and port in the "
                "config of the pack poundcake"
            )


def _bus_answers() -> bool:
    """Return whether a new connection to the message bus can be made.

    After an outage of the bus, StackStorm's publisher stays broken in this process. So this opens
    a new connection.
    """
    from st2common.transport import utils

    try:
        with utils.get_connection() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
        return True
    except Exception:
        return False
