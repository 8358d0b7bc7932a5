"""The datastore as StackStorm shows it: scopes, secrets, time to live."""

import time
from pathlib import Path

from cryptography.fernet import Fernet

from tests.engine.store import new_id, timestamp

SYSTEM = "st2kv.system"
USER = "st2kv.user"
_SCOPES = {"system": SYSTEM, SYSTEM: SYSTEM, "user": USER, USER: USER}


def full_scope(scope):
    """`system` and `user`, short or full, as the full name. Raises ValueError."""
    if scope not in _SCOPES:
        allowed = [SYSTEM, USER, "system", "user"]
        raise ValueError(f"Scope {scope} is not in allowed scopes list: {allowed}.")
    return _SCOPES[scope]


def _full_name(scope, name, user):
    return f"{user}:{name}" if scope == USER else name


class Keys:
    """Keys of the system scope, and of each user. `scope` is a full one."""

    def __init__(self, store, key_file):
        self._store = store
        key_file = Path(key_file)
        if not key_file.exists():
            key_file.touch(mode=0o600)
            key_file.write_bytes(Fernet.generate_key())
        self._crypto = Fernet(key_file.read_bytes())

    def get(self, scope, name, user, decrypt=False):
        """The key as the API shows it, or None; a secret stays encrypted unless `decrypt`."""
        document = self._store.get_key(scope, _full_name(scope, name, user))
        return document and self._shown(document, decrypt)

    def find(self, scope, prefix, user, decrypt=False, limit=None, offset=0):
        """Keys as the API shows them whose names start with `prefix`."""
        prefix = _full_name(scope, prefix or "", user)
        found = self._store.find_keys(scope, prefix, limit, offset)
        return [self._shown(document, decrypt) for document in found]

    def set(self, scope, name, value, user, ttl=None, secret=False):
        """Create or replace; `ttl` in seconds. Returns the key as the API shows it."""
        full = _full_name(scope, name, user)
        if secret:
            value = self._crypto.encrypt(value.encode()).hex().upper()
        document = {"name": full, "scope": scope, "value": value, "secret": bool(secret)}
        document["uid"] = f"key_value_pair:{scope}:{full}"
        expires = None
        if ttl:
            expires = time.time() + float(ttl)
            document["expire_timestamp"] = timestamp(expires)
        with self._store.lock:
            existing = self._store.get_key(scope, full)
            document["id"] = existing["id"] if existing else new_id()
            self._store.put_key(scope, full, document, expires)
        return self._shown(document, decrypt=False)

    def delete(self, scope, name, user):
        """True when the key was there."""
        return self._store.delete_key(scope, _full_name(scope, name, user))

    def lookup(self, user):
        """The callable (scope, key, decrypt) -> str | None that expressions read keys with."""

        def kv(scope, key, decrypt=False):
            document = self.get(full_scope(scope), key, user, decrypt)
            return document["value"] if document else None

        # For decrypt_kv on ciphertext: only what is a whole encrypted value decrypts.
        kv.decrypt = self._decrypted
        return kv

    def _decrypted(self, value):
        return self._crypto.decrypt(bytes.fromhex(value)).decode()

    def _shown(self, document, decrypt):
        document["encrypted"] = document["secret"] and not decrypt
        if document["secret"] and decrypt:
            document["value"] = self._decrypted(document["value"])
        if document["scope"] == USER:
            document["user"], document["name"] = document["name"].split(":", 1)
        return document
