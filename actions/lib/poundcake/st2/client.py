"""A client for StackStorm's API, with one kept-alive connection per thread.

``datastore_service.get_value`` and its siblings are not used: they return None both when a key is
absent and when the API is unreachable, and PoundCake must know the difference. The URL and the
token still come from the client that StackStorm hands to sensors and actions.
"""

import threading
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Set, Tuple
from urllib.parse import quote

import requests

from poundcake.errors import StackStormError

PAGE = 100  # StackStorm refuses a larger page unless its max_page_size allows it
MOST_PAGES = 10000  # of one listing; it must end whatever the API answers
TIMEOUT_SECONDS = 30


class StackStorm:
    """StackStorm's v1 API, reduced to the calls that PoundCake makes.

    :param get_client: callable that returns an st2client ``Client``: a datastore service's
        ``get_api_client``, which renews an expired token.

    Every method raises StackStormError, with the address and the reason, when the call fails.
    """

    def __init__(self, get_client: Callable[[], Any]):
        self._get_client = get_client
        self._local = threading.local()

    def get_key(self, name: str) -> Optional[str]:
        """Return the value of a datastore key in system scope, or None when it does not exist.

        It lists the keys with this prefix: StackStorm's API logs a warning for each request for an
        absent key, and PoundCake requests one for every new row.
        """
        keys = self._get("/keys", params={"prefix": name, "limit": 2}).json()
        for item in keys:
            if item["name"] == name:
                return str(item["value"])
        if not keys:
            return None
        answer = self._call("GET", "/keys/" + _quote(name), missing_ok=True)
        return None if answer is None else str(answer.json()["value"])

    def set_key(self, name: str, value: str, ttl: Optional[float] = None) -> None:
        """Write a datastore key in system scope. ``ttl`` is in seconds; None means forever."""
        body: Dict[str, Any] = {"name": name, "value": value, "scope": "system"}
        if ttl:
            body["ttl"] = int(ttl)
        try:
            self._call("PUT", "/keys/" + _quote(name), body=body)
        except StackStormError:
            # After a message bus outage the API's own publisher stays broken until the API is
            # restarted: it writes a changed value, cannot publish the change, and answers 500.
            if self.get_key(name) != value:
                raise

    def delete_key(self, name: str) -> None:
        """Delete a datastore key; an absent key is not an error."""
        self._call("DELETE", "/keys/" + _quote(name), missing_ok=True)

    def list_keys(self, prefix: str, skip: int = 0) -> Dict[str, str]:
        """Return ``{name: value}`` for every key in system scope that begins with ``prefix``.

        ``skip`` is how many of the oldest keys to leave out. (This is the one listing for which
        StackStorm does not return a total.)
        """
        return dict(self.each_key(prefix, skip))

    def each_key(self, prefix: str, skip: int = 0) -> Iterator[Tuple[str, str]]:
        """Yield the ``(name, value)`` pairs of ``list_keys``, with one page in memory."""
        for item in self._each("/keys", {"prefix": prefix}, skip):
            yield item["name"], item["value"]

    def list_trigger_instances(self, trigger: str, since: str) -> List[Dict[str, Any]]:
        """Return the instances (id, status, payload) of a trigger since an RFC 3339 time."""
        return self._pages("/triggerinstances", {"trigger": trigger, "timestamp_gt": since})

    def list_enforcements(self, since: str) -> List[Dict[str, Any]]:
        """Return the enforcements of all rules since an RFC 3339 time."""
        return self._pages("/ruleenforcements", {"enforced_at_gt": since})

    def list_executions(
        self, trigger_name: str, since: Optional[str] = None, status: Optional[str] = None
    ) -> List[Dict[str, Any]]:
        """Return id, status, times, rule, action and runner of what a trigger started.

        :param trigger_name: the bare name, not the reference: StackStorm filters on the name.
        :param since: an RFC 3339 time; None for no limit.
        :param status: only executions in this status; None for all.
        """
        attributes = "id,status,start_timestamp,end_timestamp,rule.ref,action.ref,runner.name"
        params = {
            "trigger_type": trigger_name,
            "timestamp_gt": since,
            "status": status,
            "include_attributes": attributes,
        }
        return self._pages("/executions", params)

    def list_executions_of(self, trigger_instance_id: str) -> List[str]:
        """Return the ids of the executions that rules started for a trigger instance."""
        params = {"trigger_instance": trigger_instance_id, "include_attributes": "id"}
        return [item["id"] for item in self._pages("/executions", params)]

    def list_children(self, execution_id: str) -> List[Dict[str, Any]]:
        """Return id, status, start, parameters and action of an execution's children."""
        attributes = "id,status,start_timestamp,parameters,action.ref"
        params = {"parent": execution_id, "include_attributes": attributes}
        return self._pages("/executions", params)

    def list_pending_inquiries(self) -> Set[str]:
        """Return the ids of the unanswered inquiries."""
        params = {"action": "core.ask", "status": "pending", "include_attributes": "id"}
        return {item["id"] for item in self._pages("/executions", params)}

    def respond(self, inquiry_id: str, response: Any) -> bool:
        """Answer an inquiry; return False when StackStorm refuses, for example because it ended."""
        body = {"id": inquiry_id, "response": response}
        path = "/inquiries/" + _quote(inquiry_id)
        return self._request("PUT", path, body=body).status_code < 400

    def last_execution(self, action_ref: str) -> Optional[Dict[str, Any]]:
        """Return the newest execution of an action (id, status, times), or None."""
        attributes = "id,status,start_timestamp,end_timestamp"
        params = {"action": action_ref, "limit": 1, "include_attributes": attributes}
        executions: List[Dict[str, Any]] = self._get("/executions", params=params).json()
        return executions[0] if executions else None

    def run_action(self, action_ref: str, parameters: Mapping[str, Any]) -> str:
        """Request an execution of an action and return its id."""
        body = {"action": action_ref, "parameters": parameters}
        answer = self._checked("POST", "/executions", body=body)
        return str(answer.json()["id"])

    def cancel_execution(self, execution_id: str) -> None:
        """Request that an execution is canceled; one that ended or is gone is not an error."""
        path = "/executions/" + _quote(execution_id)
        self._call("DELETE", path, missing_ok=True)

    def get_execution(self, execution_id: str) -> Optional[Dict[str, Any]]:
        """Return one execution with its result, or None when StackStorm does not have it."""
        params = {"exclude_attributes": "trigger_instance"}
        path = "/executions/" + _quote(execution_id)
        return _document(self._call("GET", path, params=params, missing_ok=True))

    def list_resources(self, kind: str, **filters: Any) -> List[Dict[str, Any]]:
        """Return all documents of a kind ("actions", "rules") that match the API's filters."""
        return self._pages("/" + kind, filters)

    def get_resource(self, kind: str, ref: str) -> Optional[Dict[str, Any]]:
        """Return a document by its reference or id, or None."""
        return _document(self._call("GET", f"/{kind}/{_quote(ref)}", missing_ok=True))

    def save_resource(
        self, kind: str, document: Mapping[str, Any], id_: Optional[str] = None
    ) -> None:
        """Create a document, or replace the one with this id."""
        if id_ is None:
            self._call("POST", "/" + kind, body=document)
        else:
            # StackStorm also looks for the id in the body of a rule.
            self._call("PUT", f"/{kind}/{_quote(id_)}", body=dict(document, id=id_))

    def delete_resource(self, kind: str, id_: str) -> None:
        """Delete a document and any files it has; an absent document is not an error."""
        path = f"/{kind}/{_quote(id_)}"
        body = {"remove_files": True} if kind == "actions" else None
        self._call("DELETE", path, body=body, missing_ok=True)

    def get_entry_point(self, action_ref: str) -> Optional[str]:
        """Return the text of an action's file, or None when there is no such file."""
        path = "/actions/views/entry_point/" + _quote(action_ref)
        answer = self._request("GET", path)
        return answer.content.decode("utf-8") if answer.status_code == 200 else None

    def ping(self) -> None:
        """Return when the API answers, with any status."""
        self._request("GET", "", timeout=5)

    def _pages(self, path: str, params: Mapping[str, Any]) -> List[Dict[str, Any]]:
        return list(self._each(path, params))

    def _each(
        self, path: str, params: Mapping[str, Any], skip: int = 0
    ) -> Iterator[Dict[str, Any]]:
        """Yield every document of a listing.

        Some listings (rules, sensortypes, inquiries) ignore ``offset`` and answer the same page
        again: a page that brings nothing new is the last one, and what the total says is missing
        comes in one page without a limit, which StackStorm gives to administrators.
        """
        seen: Set[str] = set()
        total = None
        for number in range(MOST_PAGES):
            offset = skip + number * PAGE
            answer = self._get(path, params=dict(params, limit=PAGE, offset=offset))
            page = answer.json()
            total = answer.headers.get("X-Total-Count", total)
            new = _unseen(page, seen)
            yield from new
            if len(page) < PAGE:
                return
            if not new:
                break
        else:
            raise StackStormError(f"GET {path}: more than {MOST_PAGES * PAGE} documents")
        if total is not None and skip + len(seen) < int(total):
            yield from _unseen(self._get(path, params=dict(params, limit=-1)).json(), seen)

    def _get(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        return self._checked("GET", path, params=params)

    def _call(
        self,
        method: str,
        path: str,
        params: Optional[Mapping[str, Any]] = None,
        body: Optional[Mapping[str, Any]] = None,
        missing_ok: bool = False,
    ) -> Optional[requests.Response]:
        """Make a request; return None for a 404 that is allowed."""
        try:
            return self._checked(method, path, params, body)
        except _NotFound:
            if missing_ok:
                return None
            raise

    def _checked(
        self,
        method: str,
        path: str,
        params: Optional[Mapping[str, Any]] = None,
        body: Optional[Mapping[str, Any]] = None,
    ) -> requests.Response:
        """Make a request; raise StackStormError for an error status."""
        answer = self._request(method, path, params, body)
        if answer.status_code < 400:
            return answer
        brief = f"{method} {path}: {answer.status_code}"
        kind = _NotFound if answer.status_code == 404 else StackStormError
        raise kind(f"{brief} {answer.text[:200]}", brief)

    def _request(
        self,
        method: str,
        path: str,
        params: Optional[Mapping[str, Any]] = None,
        body: Optional[Mapping[str, Any]] = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> requests.Response:
        """Make a request; return the answer whatever its status."""
        try:
            client = self._get_client()
            url = client.endpoints["api"].rstrip("/") + path
            return self._session().request(
                method,
                url,
                params=params,
                json=body,
                headers={"X-Auth-Token": client.token} if client.token else {},
                verify=client.cacert or True,
                timeout=timeout,
            )
        except Exception as error:  # the token comes from the database, the call from the network
            raise StackStormError(f"{method} {path}: {error}") from error

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        session: requests.Session = self._local.session
        return session


class _NotFound(StackStormError):
    """The API answered 404."""


def _document(answer: Optional[requests.Response]) -> Optional[Dict[str, Any]]:
    if answer is None:
        return None
    document: Dict[str, Any] = answer.json()
    return document


def _quote(part: str) -> str:
    return quote(part, safe="")


def _unseen(page: List[Dict[str, Any]], seen: Set[str]) -> List[Dict[str, Any]]:
    """Return the documents of a page that no earlier page had, and remember them."""
    new = []
    for document in page:
        identity = str(document.get("id") or document.get("name"))
        if identity not in seen:
            seen.add(identity)
            new.append(document)
    return new
