"""Who may call: the one admin, tokens, API keys."""

import hashlib
import secrets
import time

from tests.engine.store import timestamp

ADMIN = "st2admin"
DAY = 24 * 3600


class Unauthorized(Exception):
    """No valid credentials; the message is StackStorm's."""


def _hash(key):
    return hashlib.sha512(key.encode()).hexdigest()


class Access:
    """Everybody who authenticates is an admin: StackStorm without RBAC is the same."""

    def __init__(self, store, password):
        self._store = store
        self._password = password
        self._passing = {}  # tokens of executions: none outlives the engine

    def login(self, user, password, ttl=DAY):
        """A token document for the admin. Raises Unauthorized."""
        right = secrets.compare_digest((password or "").encode(), self._password.encode())
        if user != ADMIN or not right:
            raise Unauthorized("Invalid or missing credentials")
        return self.new_token(user, min(int(ttl or DAY), DAY))

    def new_token(self, user, ttl=DAY):
        """A token document that is valid for `ttl` seconds."""
        token = {"user": user, "token": secrets.token_hex(16), "metadata": {}}
        return self._store.put("token", dict(token, expiry=timestamp(time.time() + ttl)))

    def passing_token(self, user):
        """The text of a token that is valid until `drop_token`, or the engine's end."""
        token = secrets.token_hex(16)
        expiry = timestamp(time.time() + DAY)
        self._passing[token] = {"user": user, "expiry": expiry}
        return token

    def drop_token(self, token):
        """The execution it was made for is over."""
        self._passing.pop(token, None)

    def new_api_key(self, user=ADMIN, metadata=None, enabled=True):
        """An API key document with the key itself under `key`; only its hash is stored."""
        key = secrets.token_urlsafe(48)
        stored = {
            "user": user,
            "key_hash": _hash(key),
            "metadata": metadata or {},
            "created_at": timestamp(),
            "enabled": enabled,
        }
        stored["uid"] = f"api_key:{stored['key_hash']}"
        self._store.put("api_key", stored)
        return dict(stored, key=key)

    def authenticate(self, token, api_key):
        """(user, what GET /v1/user says of how they identified themselves). Raises Unauthorized."""
        if token:
            found = self._passing.get(token) or self._store.first("token", token=token)
            if not found:
                # StackStorm says nothing more in this case.
                raise Unauthorized("")
            if found["expiry"] <= timestamp():
                raise Unauthorized("Token has expired.")
            method = {"method": "authentication token", "token_expire": found["expiry"]}
            return found["user"], method
        if api_key:
            found = self._store.first("api_key", key_hash=_hash(api_key))
            if not found:
                raise Unauthorized(f"ApiKey with key_hash={_hash(api_key)} not found.")
            if not found["enabled"]:
                raise Unauthorized("API key is disabled.")
            return found["user"], {"method": "API key"}
        raise Unauthorized("One of Token or API key required.")
