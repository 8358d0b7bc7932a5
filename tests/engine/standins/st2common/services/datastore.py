"""Datastore access for actions and sensors: StackStorm's methods over st2client."""

import os
import time

SYSTEM_SCOPE = "st2kv.system"
# api.max_page_size of StackStorm: what list_values returns unless told otherwise.
DEFAULT_LIMIT = 100


class BaseDatastoreService:
    """Keys of the system scope; `local` keys carry the prefix `<pack>.<class>:`."""

    DATASTORE_NAME_SEPARATOR = ":"

    def __init__(self, logger, pack_name, class_name):
        self._logger = logger
        self._pack_name = pack_name
        self._class_name = class_name

    def get_api_client(self):
        """An st2client Client with this process's own token."""
        raise NotImplementedError("get_api_client() not implemented")

    def get_user_info(self):
        """Who the API takes this process for (GET /v1/user)."""
        return self.get_api_client().get_user_info()

    def list_values(self, local=True, prefix=None, limit=None, offset=0):
        """KeyValuePair objects whose names start with `prefix`; at most `limit` (100)."""
        return self.get_api_client().keys.get_all(
            prefix=self._get_full_key_prefix(local, prefix),
            limit=limit or DEFAULT_LIMIT,
            offset=offset,
        )

    def get_value(self, name, local=True, scope=SYSTEM_SCOPE, decrypt=False):
        """The value as a string; None when the key is absent, or on any error (logged)."""
        self._check_scope(scope)
        name = self._get_full_key_name(name, local)
        params = {"decrypt": str(decrypt).lower(), "scope": scope}
        try:
            pair = self.get_api_client().keys.get_by_id(id=name, params=params)
        except Exception as e:
            # As in StackStorm: the caller cannot tell an outage from an absent key.
            self._logger.exception(
                "Exception retrieving value from datastore (name=%s): %s", name, e
            )
            return None
        return pair.value if pair else None

    def set_value(self, name, value, ttl=None, local=True, scope=SYSTEM_SCOPE, encrypt=False):
        """Write `str(value)`, for `ttl` seconds when given. Raises on failure."""
        self._check_scope(scope)
        pair = self._pair(self._get_full_key_name(name, local))
        pair.value, pair.scope = str(value), scope
        if encrypt:
            pair.secret = True
        if ttl:
            pair.ttl = ttl
        self.get_api_client().keys.update(instance=pair)
        return True

    def delete_value(self, name, local=True, scope=SYSTEM_SCOPE):
        """Delete the key; False (logged) when that failed."""
        self._check_scope(scope)
        pair = self._pair(self._get_full_key_name(name, local))
        try:
            self.get_api_client().keys.delete(instance=pair, params={"scope": scope})
        except Exception as e:
            self._logger.exception(
                "Exception deleting value from datastore (name=%s): %s", pair.name, e
            )
            return False
        return True

    @staticmethod
    def _pair(name):
        from st2client.models.keyvalue import KeyValuePair

        pair = KeyValuePair()
        pair.id = pair.name = name
        return pair

    @staticmethod
    def _check_scope(scope):
        if scope != SYSTEM_SCOPE:
            raise ValueError(f"Scope {scope} is unsupported.")

    def _get_full_key_name(self, name, local):
        return self._get_full_key_prefix(True, name) if local else name

    def _get_full_key_prefix(self, local, prefix=None):
        if not local:
            return prefix
        own = f"{self._pack_name}.{self._class_name}{self.DATASTORE_NAME_SEPARATOR}"
        return own + (prefix or "")


def _new_client(token):
    # st2client takes 0.3 s to import: only those who ask pay for it.
    from st2client.client import Client

    return Client(api_url=os.environ["ST2_ACTION_API_URL"], token=token)


class ActionDatastoreService(BaseDatastoreService):
    """For actions: one client with the execution's token."""

    def __init__(self, logger, pack_name, class_name, auth_token):
        super().__init__(logger, pack_name, class_name)
        self._auth_token = auth_token
        self._client = None

    def get_api_client(self):
        """The client, made at the first call."""
        if self._client is None:
            self._client = _new_client(self._auth_token)
        return self._client


class SensorDatastoreService(BaseDatastoreService):
    """For sensors: a client whose token is renewed before it expires.

    `new_token()` returns (token, lifetime in seconds); StackStorm writes one to its
    database, the engine's sensor wrapper asks the engine.
    """

    def __init__(self, logger, pack_name, class_name, new_token):
        super().__init__(logger, pack_name, class_name)
        self._new_token = new_token
        self._client = None
        self._expires_at = 0

    def get_api_client(self):
        """The client, a new one when the token of the last has expired."""
        if self._client is None or time.time() >= self._expires_at:
            token, lifetime = self._new_token()
            self._client = _new_client(token)
            self._expires_at = time.time() + lifetime
        return self._client
