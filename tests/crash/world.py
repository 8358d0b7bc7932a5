"""The embedded engine with a sensor that can be killed."""

import contextlib
import dataclasses

import requests

from tests.crash.proxy import Proxy
from tests.crash.sensor import Sensor
from tests.engine import testing
from tests.support.ports import free_port
from tests.support.world import World, copy_pack


@dataclasses.dataclass
class CrashWorld:
    """``world`` is what end-to-end tests speak to; ``sensor`` and ``proxy`` stand in its way."""

    world: World
    sensor: Sensor
    proxy: Proxy


@contextlib.contextmanager
def open_crash_world(folder, kill=None, **config):
    """A CrashWorld for as long as the block lasts.

    :param folder: where the engine keeps its state and its copy of the pack.
    :param kill: a proxy.Kill, None for a sensor that nobody but the test kills.
    :param config: settings of the pack.
    """
    pack = copy_pack(folder / "packs" / "poundcake")
    metadata = pack / "sensors" / "alertmanager_sensor.yaml"
    text = metadata.read_text(encoding="utf-8")
    # The engine must not run the sensor: it would give it up after two deaths.
    metadata.write_text(text.replace("\nenabled: true\n", "\nenabled: false\n"), encoding="utf-8")
    config = dict(config, port=free_port())
    with contextlib.ExitStack() as stack:
        engine = testing.start(folder / "state", [pack], {"poundcake": config})
        stack.callback(engine.stop)
        sensor = Sensor(pack, config, _token(engine), folder / "sensor.log")
        proxy = Proxy(engine.api_url, kill, sensor)
        stack.callback(proxy.stop)
        url = "http://127.0.0.1:%d" % config["port"]
        world = World(engine.api_url, engine.api_key, url, engine.env, pack)
        stack.enter_context(world.hears())
        sensor.start(proxy.url)
        stack.callback(sensor.stop)
        world.wait(lambda: _listens(url, sensor), "the listener")
        yield CrashWorld(world, sensor, proxy)


def _listens(url, sensor):
    assert not sensor.deaths, "the sensor does not start:\n" + sensor.log()[-3000:]
    try:
        return requests.get(url + "/ready", timeout=5).ok
    except requests.ConnectionError:
        return False


def _token(engine):
    login = (engine.env["ST2_ENGINE_USER"], engine.env["ST2_ENGINE_PASSWORD"])
    answer = requests.post(engine.env["ST2_AUTH_URL"] + "/tokens", auth=login, json={}, timeout=60)
    answer.raise_for_status()
    return answer.json()["token"]
