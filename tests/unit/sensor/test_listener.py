"""The HTTP listener: what is acknowledged is durable, and Alertmanager understands its answers."""

import base64
import gzip
import io
import json
import logging
import re
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake.sensor.guard import FREE_GUESSES, LONGEST_HOLD_SECONDS, Guesses
from poundcake.sensor.known_health import STALE_SECONDS, KnownHealth
from poundcake.sensor.listener import Listener
from poundcake.sensor.metrics import Metrics
from poundcake.settings import from_config
from poundcake.st2 import rows

from tests.support.alerts import alert, notification
from tests.support.fakes import (
    JSON_VALUES,
    PROPERTY,
    Clock,
    FakeStackStorm,
    load_fixture,
    make_settings,
)

TOKEN = "t0ken-that-nobody-may-see"
PASSWORD = "passw0rd-that-nobody-may-see"
WITH_TOKEN = make_settings(token=TOKEN)
WITH_BASIC = make_settings(username="alertmanager", password=PASSWORD)
WITH_BOTH = make_settings(token=TOKEN, username="alertmanager", password=PASSWORD)
LOG = logging.getLogger("poundcake.test_listener")


class FakeController:
    """The controller as the listener sees it, with answers set by the test."""

    def __init__(self):
        self.reason = ""
        self.taken = []
        self.parts = {"datastore": {"ok": True, "detail": "answers"}}
        self.requests = {}
        self.error = None

    def refusal(self):
        if self.error:
            raise self.error
        return self.reason

    def take(self, entry):
        self.taken.append(entry)

    def health(self):
        return self.parts

    def request_status(self, request_id):
        return self.requests.get(request_id)


class Entrance:
    """A listener with an in-memory StackStorm, called over WSGI."""

    def __init__(self, settings=None, pages=()):
        self.stackstorm = FakeStackStorm(Clock())
        self.controller = FakeController()
        self.metrics = Metrics()
        self.clock = Clock(0.0)
        self.health = KnownHealth(lambda: self.controller.health(), self.clock)
        self.health.refresh()
        self.listener = Listener(
            settings or make_settings(),
            self.stackstorm,
            self.controller,
            LOG,
            pages,
            self.metrics,
            self.health,
        )
        self.app = validator(self.listener)

    def ask(self, method, path, body=b"", **headers):
        """Return ``(status, decoded body, headers)``; a validator checks WSGI's rules."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode("utf-8")
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "application/json",
        }
        environ.update(headers)
        setup_testing_defaults(environ)
        seen = {}

        def start_response(status, answer_headers, exc_info=None):
            seen.update(status=int(status.split()[0]), headers=answer_headers)
            return lambda data: None

        answer = self.app(environ, start_response)
        text = b"".join(answer)
        answer.close()
        length = dict(seen["headers"])["Content-Length"]
        if method != "HEAD":
            assert length == str(len(text))
        if text and "json" in dict(seen["headers"])["Content-Type"]:
            text = json.loads(text)
        return seen["status"], text or None, seen["headers"]

    def post(self, body, path="/webhook", **headers):
        return self.ask("POST", path, body, **headers)


def bearer(token):
    return {"HTTP_AUTHORIZATION": "Bearer " + token}


def basic(user, password):
    pair = ("%s:%s" % (user, password)).encode("utf-8")
    return {"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(pair).decode("ascii")}


@pytest.fixture
def entrance():
    return Entrance()


def test_a_secret_that_cannot_be_read_is_named_in_the_log_alone(caplog):
    """Who brings no credentials needs none of it, and is told whether the sensor is ready."""
    settings = from_config({"token_key": "poundcake_token"}, lambda key: None)
    entrance = Entrance(settings)
    assert entrance.ask("GET", "/ready")[0] == 200
    assert entrance.post(notification())[0] == 401
    status, answer, _ = entrance.post(notification(), **bearer("guess"))
    assert status == 503 and "poundcake_token" not in json.dumps(answer)
    assert "the datastore has no key poundcake_token" in caplog.text


# --- 202 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/webhook", "/api/v1/webhook"])
def test_a_notification_is_acknowledged_after_it_is_in_the_inbox(entrance, path):
    """The row has all of it, and the controller gets the same entry."""
    document = load_fixture("firing_group")
    status, answer, _ = entrance.post(document, path)
    assert status == 202
    request_id = answer.pop("request_id")
    assert answer == {"status": "accepted", "alerts_received": 3, "alerts_rejected": 0}
    stored = entrance.stackstorm.rows(rows.INBOX)
    assert stored == entrance.controller.taken
    assert [row["request_id"] for row in stored] == [request_id]
    assert stored[0]["notification"] == document and stored[0]["source"] == "listener"
    assert entrance.stackstorm.ttl(rows.key(rows.INBOX, request_id)) is None


@pytest.mark.parametrize(
    "name, received, rejected",
    [
        ("nine_good_one_bad", 10, 1),
        ("empty_alerts", 0, 0),
        ("sparse", 1, 0),
        ("new_fields", 1, 0),
        ("unicode_labels", 1, 0),
        ("expressions", 1, 0),
    ],
)
def test_the_answer_counts_what_came_and_what_of_it_is_rejected(entrance, name, received, rejected):
    """One bad alert never sinks its batch."""
    status, answer, _ = entrance.post(load_fixture(name))
    assert status == 202
    assert (answer["alerts_received"], answer["alerts_rejected"]) == (received, rejected)


def test_no_header_reaches_the_inbox():
    """An Authorization header or an API key is never stored."""
    entrance = Entrance(WITH_BOTH)
    headers = dict(bearer(TOKEN), HTTP_ST2_API_KEY="api-key-of-someone", HTTP_COOKIE="c00kie")
    assert entrance.post(notification(alert()), **headers)[0] == 202
    kept = json.dumps(entrance.stackstorm.keys) + json.dumps(entrance.controller.taken)
    for secret in (TOKEN, "api-key-of-someone", "c00kie", "Bearer"):
        assert secret not in kept


# --- 4xx: what can never succeed ------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, start",
    [
        (b"", "body: "),
        (b"not json", "body: "),
        (b"[" * 50000, "body: "),
        (b"[]", "body: a list found"),
        (b"null", "body: null found"),
        (b"{}", "alerts: missing"),
        (b'{"alerts": {}}', "alerts: an object found"),
        (b'{"Type": "Notification", "TopicArn": "a"}', "body: an envelope of Amazon SNS"),
    ],
)
def test_what_is_no_notification_is_400_with_the_field(entrance, body, start):
    """And leaves nothing in the inbox."""
    status, answer, _ = entrance.post(body)
    assert status == 400
    assert answer["status"] == "rejected" and answer["error"].startswith(start)
    assert entrance.stackstorm.keys == {} and entrance.controller.taken == []


def test_a_body_that_is_too_large_is_413():
    """Exactly, whatever its length header says."""
    entrance = Entrance(make_settings(max_body_bytes=1024))
    body = json.dumps(notification(alert())).encode("ascii")
    assert entrance.post(body + b" " * (1024 - len(body)))[0] == 202
    status, answer, _ = entrance.post(body + b" " * (1025 - len(body)))
    assert status == 413
    assert answer["error"] == "body: larger than max_body_bytes (1024)"
    assert entrance.post(body, CONTENT_LENGTH="999999999")[0] == 413
    assert len(entrance.controller.taken) == 1


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/webhook", 405),
        ("PUT", "/webhook", 405),
        ("DELETE", "/api/v1/webhook", 405),
        ("POST", "/health", 405),
        ("POST", "/ready", 405),
        ("POST", "/api/v1/status/abc", 405),
        ("GET", "/", 404),
        ("POST", "/", 404),
        ("GET", "/webhooks", 404),
        ("GET", "/api/v1/status/", 404),
        ("GET", "/api/v1/status/a/b", 404),
    ],
)
def test_a_wrong_method_is_405_and_a_wrong_path_404(entrance, method, path, status):
    """With the existing paths, and with Allow if the method was wrong."""
    got, answer, headers = entrance.ask(method, path)
    assert got == status and answer["error"]
    assert ("Allow" in dict(headers)) == (status == 405)


# --- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, headers",
    [
        (WITH_TOKEN, bearer(TOKEN)),
        (WITH_TOKEN, {"HTTP_AUTHORIZATION": "bearer " + TOKEN}),
        (WITH_BASIC, basic("alertmanager", PASSWORD)),
        (WITH_BOTH, bearer(TOKEN)),
        (WITH_BOTH, basic("alertmanager", PASSWORD)),
        (make_settings(username="ü", password="p:ß"), basic("ü", "p:ß")),
        (make_settings(), {}),
        (make_settings(), bearer("anything")),
    ],
)
def test_the_credentials_of_the_config_open_the_door(settings, headers):
    """Either is enough when both are set; when none is set, none is required."""
    entrance = Entrance(settings)
    assert entrance.post(notification(alert()), **headers)[0] == 202
    entrance.controller.requests["r"] = {"request_id": "r"}
    assert entrance.ask("GET", "/api/v1/status/r", **headers)[0] == 200


WRONG = [
    {},
    {"HTTP_AUTHORIZATION": ""},
    {"HTTP_AUTHORIZATION": "Bearer"},
    {"HTTP_AUTHORIZATION": "Bearer "},
    {"HTTP_AUTHORIZATION": TOKEN},
    {"HTTP_AUTHORIZATION": "Basic"},
    {"HTTP_AUTHORIZATION": "Basic ===="},
    {"HTTP_AUTHORIZATION": "Basic /////w=="},
    {"HTTP_AUTHORIZATION": "Digest " + TOKEN},
    bearer(TOKEN[:-1]),
    bearer(TOKEN + "x"),
    bearer("\xff\xfe"),
    bearer(PASSWORD),
    basic("alertmanager", ""),
    basic("", PASSWORD),
    basic("", ""),
    basic("alertmanager", PASSWORD + "x"),
    basic("someone", PASSWORD),
    basic("", TOKEN),
]


@pytest.mark.parametrize("headers", WRONG)
@pytest.mark.parametrize("settings", [WITH_TOKEN, WITH_BASIC, WITH_BOTH])
def test_wrong_or_missing_credentials_are_401(settings, headers):
    """On both guarded paths; the answer says what is expected, and nothing is stored."""
    entrance = Entrance(settings)
    entrance.controller.requests["r"] = {"request_id": "r"}
    for method, path in (("POST", "/webhook"), ("GET", "/api/v1/status/r")):
        status, answer, answer_headers = entrance.ask(method, path, b"{}", **headers)
        assert status == 401 and answer["status"] == "rejected"
        assert [name for name, _ in answer_headers].count("WWW-Authenticate") == 2
    assert entrance.stackstorm.keys == {}


def test_the_body_of_an_unauthorized_request_is_not_read():
    """Neither the inbox nor the controller is called."""
    entrance = Entrance(WITH_TOKEN)
    entrance.controller.error = AssertionError("asked")
    entrance.stackstorm.away = True
    assert entrance.post(notification(alert()))[0] == 401


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_and_ready_need_no_credentials(path):
    """A health check has no credentials."""
    assert Entrance(WITH_BOTH).ask("GET", path)[0] == 200


@pytest.mark.parametrize("headers", WRONG + [bearer(TOKEN), basic("alertmanager", PASSWORD)])
def test_no_credential_and_no_body_is_in_a_log_or_an_answer(caplog, headers):
    """Whether the notification is accepted, refused or fails."""
    caplog.set_level(logging.DEBUG)
    entrance = Entrance(WITH_BOTH)
    body = notification(alert(secret_label="b0dy-text"), receiver="b0dy-text")
    answers = [entrance.post(body, **headers), entrance.post(b"b0dy-text", **headers)]
    entrance.stackstorm.away = True
    answers.append(entrance.post(body, **headers))
    entrance.controller.error = RuntimeError("broken")
    answers.append(entrance.post(body, **headers))
    credential = (headers.get("HTTP_AUTHORIZATION") or "Bearer x").partition(" ")[2]
    for secret in (TOKEN, PASSWORD, "b0dy-text", credential):
        if len(secret) > 8:
            assert secret not in caplog.text
            assert secret not in json.dumps([answer for _, answer, _ in answers])


# --- pages of other sites -------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", "text/plain", "application/x-www-form-urlencoded", "x"])
def test_a_notification_is_application_json(entrance, given):
    """A form on any page can post anything else without being asked."""
    status, answer, _ = entrance.post(notification(alert()), CONTENT_TYPE=given)
    assert status == 415 and answer["error"].startswith("Content-Type: ")
    assert entrance.controller.taken == []


@pytest.mark.parametrize(
    "given", ["application/json", "Application/JSON", "application/json; charset=utf-8"]
)
def test_the_content_type_may_have_parameters(entrance, given):
    """As HTTP has it."""
    assert entrance.post(notification(alert()), CONTENT_TYPE=given)[0] == 202


def test_an_sns_envelope_is_named(entrance):
    """It comes as text/plain."""
    headers = {"CONTENT_TYPE": "text/plain", "HTTP_X_AMZ_SNS_MESSAGE_TYPE": "Notification"}
    status, answer, _ = entrance.post(b"{}", **headers)
    assert status == 415 and "Amazon SNS" in answer["error"]


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"HTTP_ORIGIN": "http://evil.example.com"}, 403),
        ({"HTTP_ORIGIN": "null"}, 403),
        ({"HTTP_ORIGIN": ""}, 403),
        ({"HTTP_ORIGIN": "http://localhost:8090"}, 202),
        ({"HTTP_ORIGIN": "http://localhost:8091"}, 403),
        ({"HTTP_SEC_FETCH_SITE": "cross-site"}, 403),
        ({"HTTP_SEC_FETCH_SITE": "same-site"}, 403),
        ({"HTTP_SEC_FETCH_SITE": "same-origin"}, 202),
        ({"HTTP_SEC_FETCH_SITE": "none"}, 202),
    ],
)
def test_a_browser_posts_nothing_for_another_site(entrance, headers, status):
    """Neither with nor without credentials."""
    headers = dict(headers, HTTP_HOST="localhost:8090")
    assert entrance.post(notification(alert()), **headers)[0] == status
    guarded = Entrance(WITH_BASIC)
    headers.update(basic("alertmanager", PASSWORD))
    assert guarded.post(notification(alert()), **headers)[0] == status


NEEDS_NOTHING = make_settings()
NAMED = make_settings(token=TOKEN, listener_hosts=["PoundCake.example.com.", "10.1.2.3"])
OPEN = make_settings(host="0.0.0.0", allow_unauthenticated=True)


@pytest.mark.parametrize(
    "settings, host, status",
    [
        (NEEDS_NOTHING, "localhost:8090", 202),
        (NEEDS_NOTHING, "127.0.0.1:8090", 202),
        (NEEDS_NOTHING, "127.1.2.3", 202),
        (NEEDS_NOTHING, "[::1]:8090", 202),
        (NEEDS_NOTHING, "pc.localhost", 202),
        (NEEDS_NOTHING, "", 202),
        (NEEDS_NOTHING, "rebound.example.com:8090", 403),
        (NEEDS_NOTHING, "localhost.example.com", 403),
        (NEEDS_NOTHING, "10.1.2.3", 403),
        (NEEDS_NOTHING, "a b", 403),
        (WITH_TOKEN, "any.example.com", 202),
        (OPEN, "any.example.com", 202),
        (NAMED, "poundcake.example.com:8090", 202),
        (NAMED, "POUNDCAKE.example.com", 202),
        (NAMED, "10.1.2.3:8090", 202),
        (NAMED, "localhost:8090", 202),
        (NAMED, "poundcake.example.org", 403),
    ],
)
def test_the_listener_is_asked_under_its_own_names(settings, host, status):
    """A page may give its own name our address; its requests are then no foreign ones."""
    entrance = Entrance(settings)
    headers = dict(bearer(TOKEN), HTTP_HOST=host)
    assert entrance.post(notification(alert()), **headers)[0] == status
    assert entrance.ask("GET", "/health", **headers)[0] == (200 if status == 202 else 403)


@pytest.mark.parametrize("path", ["/health", "/ready", "/api/v1/status/r", "/nothing"])
def test_no_answer_is_kept_by_a_browser_or_a_proxy(entrance, path):
    """All of them are of this moment, and some are for few eyes."""
    assert dict(entrance.ask("GET", path)[2])["Cache-Control"] == "no-store"


# --- what the head of a request decides -----------------------------------------------------------


def wants_body(entrance, method="POST", path="/webhook", **more):
    """Return what the server asks before it reads a body."""
    head = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_TYPE": "application/json"}
    return entrance.listener.wants_body(dict(head, **more))


def test_only_the_body_of_a_notification_is_wanted():
    """What is refused for its head is refused at once."""
    entrance = Entrance(make_settings(token=TOKEN, max_body_bytes=1024))
    good = bearer(TOKEN)
    assert wants_body(entrance, **good)
    assert not wants_body(entrance)
    assert not wants_body(entrance, **bearer("wrong"))
    assert not wants_body(entrance, "GET", "/health", **good)
    assert not wants_body(entrance, path="/nothing", **good)
    assert not wants_body(entrance, CONTENT_LENGTH="1025", **good)
    assert not wants_body(entrance, **dict(good, CONTENT_TYPE="text/plain"))
    assert not wants_body(entrance, HTTP_ORIGIN="http://evil.example.com", **good)


@pytest.mark.parametrize(
    "reason, more",
    [
        ("size", {"CONTENT_LENGTH": "99999999"}),
        ("type", {"CONTENT_TYPE": "text/plain"}),
        ("origin", {"HTTP_ORIGIN": "http://evil.example.com"}),
        ("host", {"HTTP_HOST": "rebound.example.com"}),
    ],
)
def test_a_refusal_is_counted_and_logged_once_a_minute(caplog, entrance, reason, more):
    """However often it comes."""
    for _ in range(5):
        entrance.post(b"{}", **more)
    line = f'poundcake_refused_requests_total{{reason="{reason}"}} 5.0'
    assert line in entrance.metrics.text().decode()
    assert len([r for r in caplog.records if "rejected" in r.getMessage()]) == 1


def test_guesses_wait_longer_and_longer_and_no_other_address_does():
    """A few mistakes are answered at once."""
    guesses, now = Guesses(), 1000.0
    assert [guesses.hold("10.0.0.1", now) for _ in range(FREE_GUESSES)] == [0.0] * FREE_GUESSES
    holds = [guesses.hold("10.0.0.1", now) for _ in range(200)]
    assert holds == sorted(holds) and holds[4] == pytest.approx(1.0)
    assert holds[-1] == LONGEST_HOLD_SECONDS
    assert guesses.hold("10.0.0.2", now) == 0.0
    assert guesses.hold("10.0.0.1", now + 61) == 0.0


def test_only_wrong_credentials_wait():
    """A request without any is a browser's first; right ones are never slowed down."""
    entrance, held = Entrance(WITH_TOKEN), []
    more = {"poundcake.hold": held.append, "REMOTE_ADDR": "10.0.0.1"}
    for headers in ([bearer("wrong")] * 30) + [{}, bearer(TOKEN)]:
        entrance.post(notification(alert()), **dict(more, **headers))
    assert len(held) == 30 and held[-1] > 2


# --- 503: what may succeed later ------------------------------------------------------------------


@pytest.mark.parametrize(
    "break_it",
    [
        lambda entrance: setattr(entrance.stackstorm, "away", True),
        lambda entrance: entrance.stackstorm.fail("set_key"),
        lambda entrance: setattr(entrance.controller, "reason", "the sensor is shutting down"),
        lambda entrance: setattr(entrance.controller, "error", RuntimeError("a bug")),
        lambda entrance: setattr(entrance.controller, "error", KeyError("x")),
    ],
)
def test_whatever_may_pass_is_503_and_nothing_is_acknowledged(entrance, break_it):
    """Alertmanager retries only on 5xx; the answer says why and when."""
    break_it(entrance)
    status, answer, headers = entrance.post(notification(alert()))
    assert status == 503
    assert answer["status"] == "unavailable" and answer["error"]
    assert dict(headers)["Retry-After"]
    assert entrance.controller.taken == []


def test_the_reason_of_a_refusal_is_in_the_answer(entrance):
    """A reader of Alertmanager's log knows what to do."""
    entrance.controller.reason = "backlog: 1000 notifications wait (max_backlog)"
    assert entrance.post(notification(alert()))[1]["error"] == entrance.controller.reason


@PROPERTY
@given(
    st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    st.one_of(
        st.sampled_from(["/webhook", "/api/v1/status/x", "/health"]),
        st.text(st.characters(max_codepoint=255)).map("/".__add__),
    ),
    st.one_of(st.binary(), JSON_VALUES),
    st.text(st.characters(max_codepoint=255)),
    st.booleans(),
)
def test_only_known_status_codes_are_ever_answered(method, path, body, authorization, away):
    """Never 500 and never 429, for any body."""
    entrance = Entrance(WITH_BOTH if len(authorization) % 2 else make_settings())
    entrance.stackstorm.away = away
    status, _, _ = entrance.ask(method, path, body, HTTP_AUTHORIZATION=authorization)
    assert status in (200, 202, 400, 401, 403, 404, 405, 413, 415, 503)


# --- health, ready, status ------------------------------------------------------------------------


def test_health_says_that_the_process_lives(entrance):
    """Even when StackStorm is down."""
    entrance.stackstorm.away = True
    assert entrance.ask("GET", "/health")[:2] == (200, {"status": "ok"})


def test_the_paths_of_the_older_designs_answer(entrance):
    """Their clients need no other URL: a webhook, health, and the way to the page."""
    assert entrance.post(notification(alert()), path="/webhook/alertmanager")[0] == 202
    assert entrance.ask("GET", "/api/v1/health")[:2] == (200, {"status": "ok"})
    for path, location in (("/ui", "."), ("/ui/", "..")):
        status, _, headers = entrance.ask("GET", path)
        assert (status, dict(headers)["Location"]) == (302, location)
    assert entrance.ask("POST", "/ui")[0] == 405


def test_ready_is_200_only_when_every_part_is(entrance):
    """The answer has the state of each part."""
    assert entrance.ask("GET", "/ready")[1]["status"] == "ready"
    entrance.controller.parts["api"] = {"ok": False, "detail": "refused"}
    entrance.health.refresh()
    status, answer, _ = entrance.ask("GET", "/ready")
    assert status == 503 and answer["status"] == "not ready"
    assert answer["parts"]["api"] == {"ok": False, "detail": "refused"}
    assert answer["parts"]["datastore"]["ok"] is True


def test_ready_is_answered_from_what_is_known_with_its_age(entrance):
    """Whoever asks waits for nobody."""
    entrance.controller.health = lambda: pytest.fail("asked")
    entrance.clock.advance(4)
    assert entrance.ask("GET", "/ready")[1]["age_seconds"] == 4.0


def test_what_was_known_too_long_ago_is_not_ready(entrance):
    """The check itself may hang."""
    entrance.clock.advance(STALE_SECONDS + 5)
    status, answer, _ = entrance.ask("GET", "/ready")
    assert status == 503
    assert answer["parts"]["checks"] == {
        "ok": False,
        "detail": "the checks have not ended, for 30 s",
    }
    entrance.health.refresh()
    assert entrance.ask("GET", "/ready")[0] == 200


def test_ready_says_less_without_credentials():
    """Details name addresses, alerts and the errors of StackStorm."""
    entrance = Entrance(WITH_TOKEN)
    entrance.controller.parts["api"] = {"ok": False, "detail": "GET http://10.1.2.3: refused"}
    entrance.health.refresh()
    status, answer, _ = entrance.ask("GET", "/ready")
    assert status == 503
    assert answer["parts"] == {"api": {"ok": False}, "datastore": {"ok": True}}
    _, answer, _ = entrance.ask("GET", "/ready", **bearer(TOKEN))
    assert "10.1.2.3" in answer["parts"]["api"]["detail"]


def test_a_check_that_raises_is_a_part_that_fails(entrance):
    """Nothing of its error is told."""
    entrance.controller.health = lambda: 1 / 0
    entrance.health.refresh()
    _, answer, _ = entrance.ask("GET", "/ready")
    assert answer["parts"] == {
        "checks": {"ok": False, "detail": "the check failed (ZeroDivisionError)"}
    }


def test_the_status_of_a_request_is_told_and_an_unknown_one_is_404(entrance):
    """The answer says why it may be unknown."""
    entrance.controller.requests["abc"] = {"request_id": "abc", "alerts": []}
    assert entrance.ask("GET", "/api/v1/status/abc")[:2] == (
        200,
        {"request_id": "abc", "alerts": []},
    )
    status, answer, _ = entrance.ask("GET", "/api/v1/status/nope")
    assert status == 404 and "request_retention_seconds" in answer["error"]


@pytest.mark.parametrize("path", ["/health", "/ready", "/api/v1/status/nope"])
def test_head_has_the_status_and_no_body(entrance, path):
    """As HTTP requires."""
    status, body, _ = entrance.ask("HEAD", path)
    assert body is None and status == entrance.ask("GET", path)[0]


def _page(match, query):
    return 200, ("%s %s" % (match.group(1), sorted(query.items()))).encode(), [HTML]


HTML = ("Content-Type", "text/html; charset=utf-8")
PAGES = [
    (re.compile("/pages/([^/]+)"), _page),
    (re.compile("/json"), lambda match, query: (200, query, [])),
]


def test_a_page_gets_its_path_and_its_query_and_answers_in_its_own_type():
    entrance = Entrance(pages=PAGES)
    status, body, headers = entrance.ask("GET", "/pages/one", QUERY_STRING="b=%26&a=1")
    assert (status, body) == (200, b"one [('a', '1'), ('b', '&')]")
    assert HTML in headers
    assert entrance.ask("GET", "/json", QUERY_STRING="a=1")[:2] == (200, {"a": "1"})


def test_a_page_is_read_with_the_credentials_of_the_webhook_and_never_written():
    entrance = Entrance(WITH_TOKEN, PAGES)
    assert entrance.ask("GET", "/pages/one")[0] == 401
    assert entrance.ask("GET", "/pages/one", **bearer(TOKEN))[0] == 200
    assert entrance.ask("POST", "/pages/one", **bearer(TOKEN))[0] == 405
    assert entrance.ask("GET", "/pages/one/two", **bearer(TOKEN))[0] == 404


@pytest.mark.parametrize(
    "accepted, packed",
    [
        ("gzip, deflate, br", True),
        ("deflate;q=0.5, gzip;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, br", False),
        ("identity", False),
        ("", False),
    ],
)
def test_a_large_answer_is_compressed_for_who_takes_that(accepted, packed):
    """A phone may load a page with hundreds of alerts."""
    text = b"poundcake " * 10000
    pages = [(re.compile("/large"), lambda *_: (200, text, [("Content-Type", "text/plain")]))]
    _, body, headers = Entrance(pages=pages).ask("GET", "/large", HTTP_ACCEPT_ENCODING=accepted)
    assert (gzip.decompress(body) if packed else body) == text
    assert (dict(headers).get("Content-Encoding") == "gzip") == packed


def test_a_small_answer_is_not_compressed(entrance):
    """Compression would gain nothing."""
    _, _, headers = entrance.ask("GET", "/health", HTTP_ACCEPT_ENCODING="gzip")
    assert "Content-Encoding" not in dict(headers)
