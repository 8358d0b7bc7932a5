"""The sensor service as a mock that records dispatches."""

from st2common.models.api.trace import TraceContext
from st2tests.mocks.service import MockService
from st2tests.mocks.service import MockWrapper as MockSensorWrapper  # noqa: F401


class MockSensorService(MockService):
    """What a sensor gets as `sensor_service`; dispatches land in `dispatched_triggers`."""

    def __init__(self, sensor_wrapper):
        super().__init__(sensor_wrapper)
        self._sensor_wrapper = sensor_wrapper
        self.dispatched_triggers = []

    def get_logger(self, name):
        """The one mock logger, whatever the name."""
        return self._logger

    def dispatch(self, trigger, payload=None, trace_tag=None):
        """Record a dispatch; no schema is checked, as in StackStorm's mock."""
        context = TraceContext(trace_tag=trace_tag) if trace_tag else None
        return self.dispatch_with_context(trigger, payload=payload, trace_context=context)

    def dispatch_with_context(self, trigger, payload=None, trace_context=None):
        """Record a dispatch with its trace context."""
        item = {"trigger": trigger, "payload": payload, "trace_context": trace_context}
        self.dispatched_triggers.append(item)
        return item
