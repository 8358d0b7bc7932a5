"""A datastore in a dict, for unit tests."""

from st2client.models.keyvalue import KeyValuePair
from st2common.services.datastore import SYSTEM_SCOPE, BaseDatastoreService


class MockDatastoreService(BaseDatastoreService):
    """Keeps KeyValuePair objects by full name; never expires or encrypts, as StackStorm's mock."""

    def __init__(self, logger, pack_name, class_name, api_username=None):
        super().__init__(logger, pack_name, class_name)
        self._username = api_username or "admin"
        self._datastore_items = {}

    def get_user_info(self):
        """An admin, by token."""
        return {
            "username": self._username,
            "rbac": {"is_admin": True, "enabled": True, "roles": ["admin"]},
            "authentication": {"method": "authentication token", "location": "header"},
        }

    def list_values(self, local=True, limit=None, prefix=None, offset=0):
        """All pairs under the prefix; limit and offset are ignored, as in StackStorm's mock."""
        start = self._get_full_key_prefix(local=local, prefix=prefix) or ""
        return [pair for name, pair in self._datastore_items.items() if name.startswith(start)]

    def get_value(self, name, local=True, scope=SYSTEM_SCOPE, decrypt=False):
        """The value as it was set, or None."""
        pair = self._datastore_items.get(self._get_full_key_name(name=name, local=local))
        return pair.value if pair else None

    def set_value(self, name, value, ttl=None, local=True, scope=SYSTEM_SCOPE, encrypt=False):
        """Keep the value; a ttl is recorded on the pair."""
        pair = KeyValuePair()
        pair.id = pair.name = self._get_full_key_name(name=name, local=local)
        pair.value = value
        if ttl:
            self._logger.warning("MockDatastoreService is not able to expire keys based on ttl.")
            pair.ttl = ttl
        self._datastore_items[pair.name] = pair
        return True

    def delete_value(self, name, local=True, scope=SYSTEM_SCOPE):
        """True when the key was there."""
        name = self._get_full_key_name(name=name, local=local)
        return self._datastore_items.pop(name, None) is not None
