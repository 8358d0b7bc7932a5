"""Inquiries: executions of `core.ask` that are `pending` until a person answers or time is up."""

import datetime
import functools
import threading

import jsonschema

from tests.engine.parameters import validate_object
from tests.engine.rules import USER

TRIGGER = "core.st2.generic.inquiry"
PENDING = {"status": "pending", "runner.name": "inquirer"}


class Refused(Exception):
    """StackStorm does not take the answer: the HTTP status, and its words."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Inquiries:
    """Announces inquiries and ends them, each with the workflow that it has paused."""

    def __init__(self, store, executions, workflows, rules):
        self._store = store
        self._executions = executions
        self._workflows = workflows
        self._rules = rules
        self._lock = threading.Lock()  # one answer counts
        executions.listeners.append(self._on_status)

    def _on_status(self, execution):
        if execution["status"] == "pending":
            payload = {"id": execution["id"], "route": execution["result"]["route"]}
            self._rules.dispatch(TRIGGER, payload)

    @staticmethod
    def check(execution):
        """Raise Refused unless it is an inquiry that can be answered."""
        id_ = execution["id"]
        if execution["runner"]["name"] != "inquirer":
            raise Refused(400, f'Action execution "{id_}" is not an inquiry.')
        if execution["status"] == "timeout":
            raise Refused(400, f'Inquiry "{id_}" timed out and cannot be responded to.')
        if execution["status"] != "pending":
            raise Refused(400, f'Inquiry "{id_}" has already been responded to.')

    def respond(self, id_, response, user):
        """End the inquiry with an answer that fits its schema. Raises Refused.

        `roles` is not looked at: they are RBAC's, and StackStorm without it does not either.
        """
        with self._lock:
            inquiry = self._store.get("execution", id_)
            self.check(inquiry)
            asked = inquiry["result"]
            if asked["users"] and user not in asked["users"]:
                message = f'User "{user}" does not have permission to respond to inquiry "{id_}".'
                raise Refused(403, message)
            try:
                validate_object(response, asked["schema"])
            except (jsonschema.ValidationError, jsonschema.SchemaError) as e:
                message = f'Response for inquiry "{id_}" did not pass schema validation. {e}'
                raise Refused(400, message) from e
            end = functools.partial(
                self._executions.finish, id_, "succeeded", {**asked, "response": response}
            )
            if "parent" in inquiry:
                self._workflows.end_waiting(inquiry, end, user)
            else:
                end()

    def time_out(self):
        """End the inquiries whose `ttl`, in minutes, has passed; 0 is for ever."""
        now = datetime.datetime.now(datetime.UTC)
        for inquiry in self._store.find("execution", PENDING):
            age = now - datetime.datetime.fromisoformat(inquiry["start_timestamp"])
            if not 0 < inquiry["result"]["ttl"] < age // datetime.timedelta(minutes=1):
                continue
            with self._lock:
                inquiry = self._executions.set_status(
                    inquiry["id"],
                    "timeout",
                    change=lambda found: found.pop("end_timestamp"),  # StackStorm sets none
                )
                if "parent" in inquiry and inquiry["status"] == "timeout":
                    # In StackStorm's order, and so a workflow without a path for the failure has
                    # nothing left to do when it is resumed, and succeeds.
                    self._workflows.child_ended(inquiry)
                    self._workflows.resume(self._executions.root(inquiry)["id"], USER)
