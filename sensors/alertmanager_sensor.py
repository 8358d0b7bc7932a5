"""The sensor: HTTP in, triggers out. Thin: what it does is in actions/lib/poundcake."""

import logging
import os
import re
import signal
import sys
import threading
import time

# StackStorm puts actions/lib on the path of actions only; the sensor shares the same library.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../actions/lib"))

import waitress  # noqa: E402
import waitress.trigger  # noqa: E402
from poundcake import settings as pack_settings  # noqa: E402
from poundcake.sensor.controller import Controller  # noqa: E402
from poundcake.sensor.listener import Listener  # noqa: E402
from poundcake.sensor.log import EventLog  # noqa: E402
from poundcake.sensor.metrics import Metrics  # noqa: E402
from poundcake.st2 import triggers  # noqa: E402
from poundcake.st2.client import StackStorm  # noqa: E402
from poundcake.views import older_api, status_page
from poundcake.views.status_page import StatusPage  # noqa: E402
from st2reactor.sensor.base import Sensor  # noqa: E402

# StackStorm gives a sensor up when it dies twice within ten seconds of its start.
LEAST_LIFE_SECONDS = 12
# waitress reads a body before the application sees it; above this it answers 413 by itself.
BODY_HEADROOM_BYTES = 1024 * 1024


class AlertmanagerSensor(Sensor):
    """Takes Alertmanager's notifications and drives admission.

    ``__init__`` checks the config, ``setup`` opens the port, ``run`` decides until it is told to
    stop. A notification is acknowledged by the listener only when it is in the inbox.
    """

    def __init__(self, sensor_service, config=None):
        super(AlertmanagerSensor, self).__init__(sensor_service=sensor_service, config=config)
        self._log = sensor_service.get_logger(__name__)
        self._born = time.time()
        self._server = None
        self._controller = None
        self._settings = pack_settings.from_config(self.config)
        pack_settings.check_exposure(self._settings)

    def setup(self):
        metrics = Metrics()
        stackstorm = StackStorm(self.sensor_service.datastore_service.get_api_client)
        stackstorm = metrics.measured(stackstorm)
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
        pages = [
            (re.compile("/metrics"), metrics.page),
            (status_page.PATH, StatusPage(self._settings, controller.snapshot, controller.health)),
        ]
        pages += older_api.pages(stackstorm, controller.snapshot)
        listener = Listener(self._settings, stackstorm, controller, self._log, pages, metrics)
        self._server = self._open_port(listener)
        signal.signal(signal.SIGTERM, self._terminate)

    def run(self):
        threading.Thread(target=self._server.run, name="listener", daemon=True).start()
        events = EventLog(self._log)
        where = "%s:%d" % (self._settings.listener.host, self._settings.listener.port)
        events.record("listening", "listening on " + where)
        try:
            self._controller.run()
        except Exception as error:
            events.record("restarting", "the sensor ends; StackStorm starts it again", error)
            # Dying too soon after the start would make StackStorm give the sensor up.
            self._controller.stop("the sensor has failed and starts again")
            time.sleep(max(0.0, self._born + LEAST_LIFE_SECONDS - time.time()))
            raise
        # Told to stop: end as the signal would have, so that whoever sent it sees that.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def cleanup(self):
        if self._controller:
            self._controller.stop("the sensor is shutting down")
        if self._server:
            self._server.close()

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass

    def _dispatch(self, trigger, payload, trace_tag):
        self.sensor_service.dispatch(trigger=trigger, payload=payload, trace_tag=trace_tag)

    def _terminate(self, *_):
        self._controller.stop("the sensor is shutting down")

    def _open_port(self, listener):
        settings = self._settings
        # One warning a request that waits for a thread would bury everything else in a storm.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        sockets = {}
        try:
            server = waitress.create_server(
                listener,
                map=sockets,
                host=settings.listener.host,
                port=settings.listener.port,
                threads=settings.listener.threads,
                max_request_body_size=settings.listener.max_body_bytes + BODY_HEADROOM_BYTES,
                ident=None,
            )
            for item in sockets.values():
                if isinstance(item, waitress.trigger.trigger):
                    item.pull_trigger = _one_at_a_time(item.pull_trigger)
            return server
        except (OSError, ValueError) as error:
            raise RuntimeError(
                "cannot listen on %s:%d (%s): set host and port in the config of the pack "
                "poundcake to an address of this machine that is free"
                % (settings.listener.host, settings.listener.port, error)
            )


def _bus_answers():
    """True when a new connection to the message bus can be made.

    StackStorm's publisher stays broken in a process that lived through an outage of the bus, so
    the connection is one of its own.
    """
    from st2common.transport import utils

    try:
        with utils.get_connection() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
        return True
    except Exception:
        return False


def _one_at_a_time(call):
    """Return ``call`` behind a lock.

    All of waitress's threads wake its loop through one pipe. Sensors run under eventlet, which
    raises when two greenthreads write to one file at the same time, and the answer that was to be
    sent never is.
    """
    lock = threading.Lock()

    def locked(*args):
        with lock:
            call(*args)

    return locked
