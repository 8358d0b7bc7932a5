"""The process of one sensor: eventlet's monkey patch, the sensor's class, its service.

On stdin: one JSON object {"pack", "file_path", "class_name", "poll_interval", "config",
"triggers", "api_url"}; the token is in ST2_ACTION_AUTH_TOKEN. Exits non-zero when `run`
raises, 0 when it returns.
"""

import sys
import warnings

# The engine's own folder, which the interpreter put first, must not hide the pack's modules.
sys.path.pop(0)

warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")

import eventlet  # noqa: E402

eventlet.monkey_patch(os=True, select=True, socket=True, thread=True, time=True)

import atexit  # noqa: E402
import select  # noqa: E402

# StackStorm puts the blocking poll() back, which the patch removes.
select.poll = eventlet.patcher.original("select").poll

import ctypes  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import types  # noqa: E402

import requests  # noqa: E402
from st2common.models.api.trace import TraceContext  # noqa: E402
from st2common.services.datastore import SensorDatastoreService  # noqa: E402
from st2reactor.sensor.base import PollingSensor  # noqa: E402

PR_SET_PDEATHSIG = 1


class SensorService:
    """What a sensor reaches StackStorm with."""

    def __init__(self, wrapper, api_url):
        self._sensor_wrapper = wrapper
        self._logger = wrapper._logger
        self._api_url = api_url
        self._session = requests.Session()
        self._session.headers["X-Auth-Token"] = os.environ["ST2_ACTION_AUTH_TOKEN"]
        self.datastore_service = SensorDatastoreService(
            self._logger, wrapper._pack, wrapper._class_name, self._new_token
        )

    def _new_token(self):
        answer = self._session.post(f"{self._api_url}/engine/sensor_token")
        answer.raise_for_status()
        return answer.json()["token"], answer.json()["lifetime"]

    def get_logger(self, name):
        """A logger below the sensor's own."""
        return logging.getLogger(f"{self._logger.name}.{name}")

    def dispatch(self, trigger, payload=None, trace_tag=None):
        """Send a trigger; always None, also when the payload did not fit and was dropped."""
        context = TraceContext(trace_tag=trace_tag) if trace_tag else None
        return self.dispatch_with_context(trigger, payload, context)

    def dispatch_with_context(self, trigger, payload=None, trace_context=None):
        """The same with a trace context. Raises when the engine cannot be reached."""
        body = {"trigger": trigger, "payload": payload}
        if trace_context:
            body["trace_context"] = {"id_": trace_context.id_, "trace_tag": trace_context.trace_tag}
        answer = self._session.post(f"{self._api_url}/engine/dispatch", json=body)
        if answer.status_code == 400:
            self._logger.warning(answer.json()["faultstring"])
            return
        answer.raise_for_status()

    def __getattr__(self, name):
        if name in ("get_user_info", "list_values", "get_value", "set_value", "delete_value"):
            return getattr(self.datastore_service, name)
        raise AttributeError(name)


def load(path, class_name):
    """The sensor class in the file. Raises what importing the file raises."""
    sys.path.append(os.path.dirname(os.path.realpath(path)))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, class_name)


def run(request):
    """Make the sensor, tell it of the triggers there are, run it until it ends."""
    pack, class_name, interval = (request[n] for n in ("pack", "class_name", "poll_interval"))
    logger = logging.getLogger(f"SensorWrapper.{pack}.{class_name}")
    sensor_class = load(request["file_path"], class_name)
    wrapper = types.SimpleNamespace(_pack=pack, _class_name=class_name, _logger=logger)
    arguments = {
        "sensor_service": SensorService(wrapper, request["api_url"]),
        "config": request["config"],
    }
    if interval and issubclass(sensor_class, PollingSensor):
        arguments["poll_interval"] = interval
    sensor = sensor_class(**arguments)
    atexit.register(sensor.cleanup)
    for trigger in request["triggers"]:
        sensor.add_trigger(trigger=trigger)
    sensor.setup()
    mode = f"active mode (poll interval={interval}s)" if interval else "passive mode"
    logger.info("Running sensor in %s", mode)
    try:
        sensor.run()
    except Exception as e:
        message = f'Sensor "{class_name}" run method raised an exception: {e}.'
        logger.warning(message, exc_info=True)
        raise


if __name__ == "__main__":
    # A sensor must not outlive the engine, even one that was killed.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # urllib3 logs each new connection.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    run(json.loads(sys.stdin.buffer.read()))
