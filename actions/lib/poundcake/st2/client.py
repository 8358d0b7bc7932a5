"""What PoundCake asks of StackStorm's API, over one kept-alive connection a thread.

Why not ``datastore_service.get_value`` and friends: they answer None for a key that is absent and
for an API that is away, and PoundCake must know the difference. The URL and the token still come
from the client that StackStorm hands to sensors and actions.
"""

import threading
from urllib.parse import quote

import requests

PAGE = 100  # StackStorm refuses more unless its max_page_size says otherwise
TIMEOUT_SECONDS = 30


class StackStormError(Exception):
    """StackStorm's API could not be reached, or answered something else than it should.

    ``brief`` is that without what StackStorm's answer says, for a log.
    """

    def __init__(self, text, brief=""):
        super().__init__(text)
        self.brief = brief or text


class StackStorm:
    """StackStorm's v1 API as the few calls that PoundCake makes.

    :param get_client: callable that returns an st2client ``Client``: a datastore service's
        ``get_api_client``, which renews its token when that has expired.

    Every method raises StackStormError, with the address and the reason, when the call fails.
    """

    def __init__(self, get_client):
        self._get_client = get_client
        self._local = threading.local()

    def get_key(self, name):
        """Return the text of a datastore key in system scope, None when there is no such key.

        It lists what begins with the name: StackStorm's API logs a warning whenever somebody asks
        for a key that is not there, and PoundCake asks that for every new row.
        """
        found = self._call("GET", "/keys", params={"prefix": name, "limit": 2}).json()
        for item in found:
            if item["name"] == name:
                return item["value"]
        if not found:
            return None
        answer = self._call("GET", "/keys/" + _quote(name), missing_ok=True)
        return None if answer is None else answer.json()["value"]

    def set_key(self, name, value, ttl=None):
        """Write a datastore key in system scope. ``ttl`` is in seconds; None keeps it for good."""
        body = {"name": name, "value": value, "scope": "system"}
        if ttl:
            body["ttl"] = int(ttl)
        try:
            self._call("PUT", "/keys/" + _quote(name), body=body)
        except StackStormError:
            # After an outage of the message bus the API's own publisher stays broken until the
            # API is restarted: it writes a changed value, cannot tell of it, and answers 500.
            if self.get_key(name) != value:
                raise

    def delete_key(self, name):
        """Delete a datastore key; one that is gone already is no error."""
        self._call("DELETE", "/keys/" + _quote(name), missing_ok=True)

    def list_keys(self, prefix, skip=0):
        """Return ``{name: text}`` of every key in system scope that begins with ``prefix``.

        ``skip`` leaves out as many of the oldest. (The keys are the one listing of which
        StackStorm does not say how many there are.)
        """
        return dict(self.each_key(prefix, skip))

    def each_key(self, prefix, skip=0):
        """Yield ``(name, text)`` of what ``list_keys`` returns, with one page in memory."""
        for item in self._each("/keys", {"prefix": prefix}, skip):
            yield item["name"], item["value"]

    def list_trigger_instances(self, trigger, since):
        """Return the instances (id, status, payload) of a trigger since an RFC 3339 time."""
        return self._pages("/triggerinstances", {"trigger": trigger, "timestamp_gt": since})

    def list_enforcements(self, since):
        """Return the rule enforcements since an RFC 3339 time, whatever the rule."""
        return self._pages("/ruleenforcements", {"enforced_at_gt": since})

    def list_executions(self, trigger_name, since=None, status=None):
        """Return id, status, times, rule and action of what a trigger started.

        ``since`` an RFC 3339 time, and in one status, where they are given.

        ``trigger_name`` is the bare name, not the reference: that is what StackStorm filters on.
        """
        wanted = "id,status,start_timestamp,end_timestamp,rule.ref,action.ref"
        params = {
            "trigger_type": trigger_name,
            "timestamp_gt": since,
            "status": status,
            "include_attributes": wanted,
        }
        return self._pages("/executions", params)

    def list_executions_of(self, trigger_instance_id):
        """Return the ids of what rules have started for a trigger instance."""
        params = {"trigger_instance": trigger_instance_id, "include_attributes": "id"}
        return [item["id"] for item in self._pages("/executions", params)]

    def list_children(self, execution_id):
        """Return id, status, start, parameters and action of what an execution itself started."""
        wanted = "id,status,start_timestamp,parameters,action.ref"
        return self._pages("/executions", {"parent": execution_id, "include_attributes": wanted})

    def list_pending_inquiries(self):
        """Return the ids of the inquiries that nobody has answered."""
        params = {"action": "core.ask", "status": "pending", "include_attributes": "id"}
        return {item["id"] for item in self._pages("/executions", params)}

    def respond(self, inquiry_id, response):
        """Answer an inquiry; return False when StackStorm does not take it, as when it is over."""
        body = {"id": inquiry_id, "response": response}
        path = "/inquiries/" + _quote(inquiry_id)
        return self._call("PUT", path, body=body, any_status=True).status_code < 400

    def last_execution(self, action_ref):
        """Return the newest execution of an action (id, status, times), None when there is none."""
        wanted = "id,status,start_timestamp,end_timestamp"
        params = {"action": action_ref, "limit": 1, "include_attributes": wanted}
        found = self._call("GET", "/executions", params=params).json()
        return found[0] if found else None

    def run_action(self, action_ref, parameters):
        """Request an execution of an action, and return its id."""
        body = {"action": action_ref, "parameters": parameters}
        return self._call("POST", "/executions", body=body).json()["id"]

    def cancel_execution(self, execution_id):
        """Ask for an execution to be canceled; one that has ended or is gone is no error."""
        path = "/executions/" + _quote(execution_id)
        self._call("DELETE", path, missing_ok=True)

    def get_execution(self, execution_id):
        """Return one execution with its result, None when StackStorm does not have it."""
        params = {"exclude_attributes": "trigger_instance"}
        path = "/executions/" + _quote(execution_id)
        answer = self._call("GET", path, params=params, missing_ok=True)
        return None if answer is None else answer.json()

    def list_resources(self, kind, **filters):
        """Return all documents of a kind ("actions", "rules"), as the API filters them."""
        return self._pages("/" + kind, filters)

    def get_resource(self, kind, ref):
        """Return a document by its reference or id, None when there is none."""
        answer = self._call("GET", "/%s/%s" % (kind, _quote(ref)), missing_ok=True)
        return None if answer is None else answer.json()

    def save_resource(self, kind, document, id_=None):
        """Create a document, or replace the one with this id."""
        if id_ is None:
            self._call("POST", "/" + kind, body=document)
        else:
            # With the id in it: StackStorm looks for it in the body of a rule.
            self._call("PUT", "/%s/%s" % (kind, _quote(id_)), body=dict(document, id=id_))

    def delete_resource(self, kind, id_):
        """Delete a document, and its files where it has some; one that is gone is no error."""
        path = "/%s/%s" % (kind, _quote(id_))
        body = {"remove_files": True} if kind == "actions" else None
        self._call("DELETE", path, body=body, missing_ok=True)

    def get_entry_point(self, action_ref):
        """Return the text of an action's file, None when the file is not there."""
        path = "/actions/views/entry_point/" + _quote(action_ref)
        answer = self._call("GET", path, any_status=True)
        return answer.content.decode("utf-8") if answer.status_code == 200 else None

    def ping(self):
        """Return nothing when the API answers at all."""
        self._call("GET", "", any_status=True, timeout=5)

    def _pages(self, path, params):
        return list(self._each(path, params))

    def _each(self, path, params, skip=0):
        while True:
            found = self._call("GET", path, params=dict(params, limit=PAGE, offset=skip)).json()
            yield from found
            if len(found) < PAGE:
                return
            skip += PAGE

    def _call(
        self, method, path, params=None, body=None, missing_ok=False, any_status=False, timeout=None
    ):
        try:
            client = self._get_client()
            url = client.endpoints["api"].rstrip("/") + path
            answer = self._session().request(
                method,
                url,
                params=params,
                json=body,
                headers={"X-Auth-Token": client.token} if client.token else {},
                verify=client.cacert or True,
                timeout=timeout or TIMEOUT_SECONDS,
            )
        except Exception as error:  # the token comes from the database, the call from the network
            raise StackStormError("%s %s: %s" % (method, path, error)) from error
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code >= 400 and not any_status:
            brief = "%s %s: %d" % (method, path, answer.status_code)
            raise StackStormError("%s %s" % (brief, answer.text[:200]), brief)
        return answer

    def _session(self):
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        return self._local.session


def _quote(part):
    return quote(part, safe="")
