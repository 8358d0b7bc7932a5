"""Base classes for a pack's unit tests, with the names and helpers of StackStorm's."""

from st2tests.action_aliases import BaseActionAliasTestCase  # noqa: F401
from st2tests.mocks.action import MockActionService, MockActionWrapper
from st2tests.mocks.sensor import MockSensorService, MockSensorWrapper
from st2tests.pack_resource import BasePackResourceTestCase


class BaseActionTestCase(BasePackResourceTestCase):
    """For actions: set `action_cls`, call `get_action_instance(config).run(...)`."""

    action_cls = None

    def setUp(self):
        super().setUp()
        wrapper = MockActionWrapper(pack="tests", class_name=self.action_cls.__name__)
        self.action_service = MockActionService(action_wrapper=wrapper)

    def get_action_instance(self, config=None):
        """The action with this test's action service."""
        return self.action_cls(config=config, action_service=self.action_service)


class BaseSensorTestCase(BasePackResourceTestCase):
    """For sensors: set `sensor_cls`, then look at what was dispatched."""

    sensor_cls = None

    def setUp(self):
        super().setUp()
        wrapper = MockSensorWrapper(pack="tests", class_name=self.sensor_cls.__name__)
        self.sensor_service = MockSensorService(sensor_wrapper=wrapper)

    def get_sensor_instance(self, config=None, poll_interval=None):
        """The sensor with this test's sensor service."""
        kwargs = {"sensor_service": self.sensor_service}
        if config:
            kwargs["config"] = config
        if poll_interval is not None:
            kwargs["poll_interval"] = poll_interval
        return self.sensor_cls(**kwargs)

    def get_dispatched_triggers(self):
        """All dispatches so far: {"trigger", "payload", "trace_context"} each."""
        return self.sensor_service.dispatched_triggers

    def get_last_dispatched_trigger(self):
        """The last dispatch."""
        return self.sensor_service.dispatched_triggers[-1]

    def assertTriggerDispatched(self, trigger, payload=None, trace_context=None):
        """Some dispatch has this trigger and, when given, this payload and trace context."""
        for item in self.get_dispatched_triggers():
            if (
                item["trigger"] == trigger
                and (not payload or item["payload"] == payload)
                and (not trace_context or item["trace_context"] == trace_context)
            ):
                return True
        raise AssertionError(f'Trigger "{trigger}" hasn\'t been dispatched')
