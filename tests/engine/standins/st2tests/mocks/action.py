"""The action service as a mock."""

from st2tests.mocks.service import MockService
from st2tests.mocks.service import MockWrapper as MockActionWrapper  # noqa: F401


class MockActionService(MockService):
    """What an action gets as `self.action_service` in a unit test."""

    def __init__(self, action_wrapper):
        super().__init__(action_wrapper)
        self._action_wrapper = action_wrapper
