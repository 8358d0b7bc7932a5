"""State on disk: documents by kind, and the datastore's keys, in one SQLite file.

A write is committed when its call returns, so what was answered survives `kill -9`.
"""

import datetime
import itertools
import os
import sqlite3
import threading
import time

import orjson

# The fields that lists are filtered and sorted by, where looking at every document is too slow.
INDEXES = {
    "execution": (
        ("liveaction.id",),
        ("parent", "start_timestamp"),
        ("start_timestamp",),
        ("status",),
        ("trigger_instance.id",),
        ("trigger_type.name", "start_timestamp"),
        ("trigger_type.name", "status", "start_timestamp"),
        ("action.ref", "start_timestamp"),
    ),
    "trigger_instance": (("occurrence_time",), ("status",), ("trigger", "occurrence_time")),
    "enforcement": (("trigger_instance_id",), ("enforced_at",)),
    "trace": (("trace_tag",), ("start_timestamp",)),
    "token": (("token",),),
    "api_key": (("key_hash",),),
}
KINDS = (
    "action alias api_key config config_schema enforcement execution pack policy policy_type rule "
    "runner sensor setting token trace trigger trigger_instance trigger_type workflow"
).split()
# Kinds asked for all the time and that seldom change: what was found is kept in memory.
STEADY = (
    "action alias api_key config config_schema pack policy policy_type rule runner sensor trigger "
    "trigger_type"
).split()
# A datastore key that has not expired by the time that goes with it.
LIVE = "(expires IS NULL OR expires > ?)"
_counter = itertools.count(int.from_bytes(os.urandom(3), "big"))
_process = os.urandom(5).hex()


def new_id(now=None):
    """A 24 digit id like MongoDB's: seconds, process, counter; ids sort by creation."""
    return f"{int(now or time.time()):08x}{_process}{next(_counter) & 0xFFFFFF:06x}"


def timestamp(epoch=None):
    """Epoch seconds (default: now) as StackStorm writes them: 2024-01-31T10:00:00.123456Z."""
    epoch = time.time() if epoch is None else epoch
    moment = datetime.datetime.fromtimestamp(epoch, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def lookup(document, path):
    """The value at a dotted path, None when absent."""
    for part in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(part)
    return document


def _sql_path(path):
    return "json_extract(body, '$." + ".".join(f'"{part}"' for part in path.split(".")) + "')"


class Store:
    """Documents are dicts with an `id`; every method is safe to call from any thread."""

    def __init__(self, path):
        self.lock = threading.RLock()
        self._found = {kind: {} for kind in KINDS}
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        for kind in KINDS:
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {kind} (id TEXT PRIMARY KEY, body TEXT)")
            for number, paths in enumerate(INDEXES.get(kind, ())):
                columns = ", ".join(_sql_path(path) for path in paths)
                self._db.execute(
                    f"CREATE INDEX IF NOT EXISTS {kind}_{number} ON {kind} ({columns})"
                )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS datastore (scope TEXT, name TEXT, expires REAL, body TEXT,"
            " PRIMARY KEY (scope, name))"
        )

    def close(self):
        """Close the file; no call may follow."""
        with self.lock:
            self._db.close()

    def put(self, kind, document):
        """Write a document, giving it an id when it has none; returns it."""
        document.setdefault("id", new_id())
        body = orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS).decode()
        with self.lock:
            self._found[kind] = {}
            self._db.execute(f"INSERT OR REPLACE INTO {kind} VALUES (?, ?)", (document["id"], body))
        return document

    def get(self, kind, id_):
        """The document, or None."""
        with self.lock:
            row = self._db.execute(f"SELECT body FROM {kind} WHERE id = ?", (id_,)).fetchone()
        return orjson.loads(row[0]) if row else None

    def delete(self, kind, id_):
        """Delete the document, if there."""
        with self.lock:
            self._found[kind] = {}
            self._db.execute(f"DELETE FROM {kind} WHERE id = ?", (id_,))

    def update(self, kind, id_, change):
        """Read, `change(document)` in place, write; returns the document."""
        with self.lock:
            document = self.get(kind, id_)
            change(document)
            return self.put(kind, document)

    def find(self, kind, where=None, sort=("id",), limit=None, offset=0):
        """Documents that match: {path: value | None | list | (">", a, "<", b)}."""
        sql, values = self._where(where or {})
        order = ", ".join(
            _sql_path(key.lstrip("+-")) + (" DESC" if key.startswith("-") else "") for key in sort
        )
        sql = f"SELECT body FROM {kind} {sql} ORDER BY {order} LIMIT ? OFFSET ?"
        values = (*values, limit or -1, offset)
        rows = self._found[kind].get((sql, values)) if kind in STEADY else None
        if rows is None:
            with self.lock:
                rows = self._db.execute(sql, values).fetchall()
                if kind in STEADY:
                    self._found[kind][sql, values] = rows
        return [orjson.loads(row[0]) for row in rows]

    def first(self, kind, **where):
        """The first document whose top-level fields equal these, or None."""
        found = self.find(kind, where, limit=1)
        return found[0] if found else None

    def count(self, kind, where=None):
        """How many documents match."""
        sql, values = self._where(where or {})
        with self.lock:
            return self._db.execute(f"SELECT count(*) FROM {kind} {sql}", values).fetchone()[0]

    @staticmethod
    def _where(where):
        terms, values = [], []
        for path, value in where.items():
            column = _sql_path(path)
            if value is None:
                terms.append(f"{column} IS NULL")
            elif isinstance(value, list):
                terms.append(f"{column} IN ({', '.join('?' * len(value))})")
                values += value
            elif isinstance(value, tuple):
                for operator, bound in zip(value[::2], value[1::2], strict=True):
                    terms.append(f"{column} {operator} ?")
                    values.append(bound)
            else:
                terms.append(f"{column} = ?")
                values.append(value)
        return ("WHERE " + " AND ".join(terms) if terms else ""), values

    def put_key(self, scope, name, document, expires):
        """Write a datastore key; `expires` in epoch seconds, None for never."""
        with self.lock:
            self._db.execute(
                "INSERT OR REPLACE INTO datastore VALUES (?, ?, ?, ?)",
                (scope, name, expires, orjson.dumps(document).decode()),
            )

    def get_key(self, scope, name):
        """The key's document, None when absent or expired."""
        with self.lock:
            row = self._db.execute(
                f"SELECT body FROM datastore WHERE scope = ? AND name = ? AND {LIVE}",
                (scope, name, time.time()),
            ).fetchone()
        return orjson.loads(row[0]) if row else None

    def delete_key(self, scope, name):
        """True when the key was there."""
        with self.lock:
            sql = f"DELETE FROM datastore WHERE scope = ? AND name = ? AND {LIVE}"
            return self._db.execute(sql, (scope, name, time.time())).rowcount > 0

    def find_keys(self, scope, prefix="", limit=None, offset=0):
        """The scope's live keys that start with `prefix`, by name."""
        with self.lock:
            # A range on the primary key; U+10FFFF sorts after every character of a name.
            rows = self._db.execute(
                "SELECT body FROM datastore WHERE scope = ? AND name >= ? AND name < ?"
                f" AND {LIVE} ORDER BY name LIMIT ? OFFSET ?",
                (scope, prefix, prefix + "\U0010ffff", time.time(), limit or -1, offset),
            ).fetchall()
        return [orjson.loads(row[0]) for row in rows]

    def purge(self):
        """Remove keys and tokens that have expired."""
        with self.lock:
            self._db.execute("DELETE FROM datastore WHERE expires <= ?", (time.time(),))
            expired = f"DELETE FROM token WHERE {_sql_path('expiry')} <= ?"
            self._db.execute(expired, (timestamp(),))
