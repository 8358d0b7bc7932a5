"""What the mock action and sensor services share: datastore methods over the mock."""

from logging import RootLogger
from unittest.mock import Mock

from st2common.services.datastore import SYSTEM_SCOPE
from st2tests.mocks.datastore import MockDatastoreService


class MockWrapper:
    """Names the pack and class a service belongs to."""

    def __init__(self, pack, class_name):
        self._pack = pack
        self._class_name = class_name


class MockService:
    """The datastore methods that both services expose."""

    def __init__(self, wrapper):
        # A Mock, so that a test can assert on what was logged.
        self._logger = Mock(spec=RootLogger)
        self._datastore_service = MockDatastoreService(
            logger=self._logger, pack_name=wrapper._pack, class_name=wrapper._class_name
        )

    @property
    def datastore_service(self):
        """The mock datastore."""
        return self._datastore_service

    def get_user_info(self):
        """The mock user."""
        return self.datastore_service.get_user_info()

    def list_values(self, local=True, prefix=None, limit=None, offset=None):
        """See the datastore."""
        return self.datastore_service.list_values(
            local=local, prefix=prefix, limit=limit, offset=offset
        )

    def get_value(self, name, local=True, scope=SYSTEM_SCOPE, decrypt=False):
        """See the datastore."""
        return self.datastore_service.get_value(
            name=name, local=local, scope=scope, decrypt=decrypt
        )

    def set_value(self, name, value, ttl=None, local=True, scope=SYSTEM_SCOPE, encrypt=False):
        """See the datastore."""
        return self.datastore_service.set_value(
            name=name, value=value, ttl=ttl, local=local, scope=scope, encrypt=encrypt
        )

    def delete_value(self, name, local=True, scope=SYSTEM_SCOPE):
        """See the datastore."""
        return self.datastore_service.delete_value(name=name, local=local, scope=scope)
