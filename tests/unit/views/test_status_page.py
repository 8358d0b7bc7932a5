"""The status page as the sensor sends it: what it says, and that alert text stays text."""

import collections
import html.parser
import io
import logging
import re
import threading
from dataclasses import replace
from unittest import mock
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given
from poundcake.core.alert import STATES
from poundcake.operators import controls
from poundcake.sensor.controller import CONTROLS_IDLE_SECONDS, Controller
from poundcake.sensor.listener import Listener
from poundcake.settings import SettingsError, from_config
from poundcake.views import overview, status_page
from poundcake.views.status_page import StatusPage
from poundcake.views.time_limited import TimeLimited

from tests.support.alerts import alert
from tests.support.fakes import PROPERTY, TRICKY_TEXT
from tests.support.pack import Pack

LOG = logging.getLogger("poundcake.test_status_page")
FAILURE = {"errors": [{"message": "it did not come up", "task_id": "check"}]}
# Attributes that could load or run something; the page must have none of them.
OUTWARD = ("src", "srcset", "srcdoc", "background", "poster", "ping", "data", "style")


class Document(html.parser.HTMLParser):
    """A parsed page: ``tags`` as (name, attributes), ``text``, and ``cells`` by tag name."""

    def __init__(self, body):
        super().__init__()
        self.tags, self.cells, self._open = [], collections.defaultdict(list), []
        self.text = ""
        self.feed(body)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        self.cells[tag].append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "script" not in self._open and "style" not in self._open:
            self.text += data
        for tag in self._open:
            self.cells[tag][-1] += data


class Site:
    """A Pack with the page in front of it, called over WSGI."""

    def __init__(self, pack=None, **config):
        self.pack = pack or Pack(**config)
        self.headers = {}

    def get(self, query="", **environ):
        """Return ``(status, body)`` of the page."""
        pack = self.pack
        page = StatusPage(pack.settings, pack.controller.snapshot, pack.controller.health)
        pages = [(status_page.PATH, page)]
        app = Listener(pack.settings, pack.stackstorm, pack.controller, LOG, pages)
        environ = dict({"PATH_INFO": "/", "QUERY_STRING": query}, **environ)
        environ["wsgi.input"] = io.BytesIO()
        setup_testing_defaults(environ)
        seen = []
        body = b"".join(app(environ, lambda *args: seen.append(args)))
        self.headers = dict(seen[0][1])
        return int(seen[0][0].split()[0]), body.decode("utf-8")

    def document(self, query=""):
        status, body = self.get(query)
        assert status == 200, body
        return Document(body)

    def text(self, query=""):
        return " ".join(self.document(query).text.split())


@pytest.fixture
def site():
    return Site(token="")


def failed(pack, count=1):
    """Make the remediation of some alerts fail."""
    pack.stackstorm.rule("mine.fix")
    pack.post(*[alert(number) for number in range(1, count + 1)])
    pack.step()
    pack.finish("failed", FAILURE)
    pack.steps(3)


# --- at a glance ----------------------------------------------------------------------------------


def test_it_says_when_nothing_needs_a_person(site):
    """Also in the title of the browser tab."""
    document = site.document()
    assert "Nothing needs you" in document.text
    assert document.cells["title"] == ["Nothing needs you · PoundCake"]


def test_it_says_how_many_alerts_need_a_person():
    """An exhausted alert has no attempts left; the line links to those alerts."""
    site = Site(token="", max_attempts=1)
    failed(site.pack, 2)
    document = site.document()
    assert document.cells["title"] == ["2 alerts need a person · PoundCake"]
    assert ("a", {"id": "v-1", "href": "?state=exhausted"}) in document.tags


def test_a_failed_attempt_is_only_worth_a_look(site):
    """The next notification may start another attempt."""
    failed(site.pack)
    assert "Nothing urgent; worth a look" in site.text()


def test_a_failing_part_comes_first(site):
    """Before any alert; and the page answers while StackStorm does not."""
    failed(site.pack)
    site.pack.stackstorm.away = True
    text = site.text()
    assert text.startswith("PoundCake is failing")
    assert "datastore is failing: GET /fake: connection refused" in text


def test_it_answers_before_the_sensor_has_read_its_rows():
    """Starting may take a while, and people watch."""
    site = Site(token="")
    with mock.patch.object(Controller, "load"):
        site.pack.start()
    assert "sensor is failing: loading its rows" in site.text()


def test_it_answers_while_stackstorm_hangs(site, monkeypatch):
    """A reader does not wait for StackStorm, and no second question is sent meanwhile."""
    monkeypatch.setattr(status_page, "HEALTH_TIMEOUT_SECONDS", 0.05)
    ended, asked = threading.Event(), []
    health = site.pack.controller.health

    def hang():
        asked.append(1)
        ended.wait(30)
        return health()

    page = StatusPage(site.pack.settings, site.pack.controller.snapshot, hang)
    for _ in range(3):
        status, body, _ = page(None, {})
        assert status == 200 and "stackstorm is failing: no answer for 0 s" in body.decode()
    assert len(asked) == 1
    ended.set()
    monkeypatch.setattr(status_page, "HEALTH_TIMEOUT_SECONDS", 30)
    page = StatusPage(site.pack.settings, site.pack.controller.snapshot, hang)
    assert "Nothing needs you" in page(None, {})[1].decode()


def test_an_error_of_the_question_is_raised():
    """It counts neither as a hang nor as an answer."""

    def fail():
        raise ValueError("a fault")

    with pytest.raises(ValueError):
        TimeLimited(fail, 30, lambda seconds: None)()


def test_every_part_of_the_health_is_there(site):
    """The same parts as in /ready."""
    cells = site.document().cells["th"]
    assert set(site.pack.controller.health()) <= set(cells)


def test_every_state_is_counted_and_can_be_chosen(site):
    """All states that the lifecycle has; a new one appears by itself."""
    site.pack.post(alert(1), alert(2))
    site.pack.step()
    site.pack.step()
    document = site.document()
    counted = {a["href"]: None for tag, a in document.tags if a.get("id", "").startswith("c-")}
    asked = [a["value"] for tag, a in document.tags if tag == "option" and a.get("value")]
    for state in STATES:
        assert "?state=" + state in counted and state in asked
    assert "2 unmatched" in " ".join(document.text.split())


def test_an_alert_that_waits_for_approval_needs_a_person(site):
    """The page shows the command to answer; nothing counts as in flight."""
    stackstorm = site.pack.stackstorm
    stackstorm.rule("mine.fix")
    site.pack.post(alert(1))
    site.pack.step()
    stackstorm.ask(stackstorm.running()[0])
    site.pack.steps(5)
    document = site.document()
    assert document.cells["title"] == ["1 alert needs a person · PoundCake"]
    assert "1 alert is awaiting approval" in document.text
    named = f'fingerprint={site.pack.alert()["fingerprint"]} reason="WHY"'
    for action in ("approve_alert", "decline_alert"):
        assert f"st2 run poundcake.{action} {named}" in document.cells["code"]
    assert "0 remediations in flight" in document.text


def test_the_alerts_can_be_filtered_by_the_time_of_their_last_change(site):
    """Any duration, or a time; a value that is neither is named."""
    site.pack.post(alert(1, alertname="Earlier"))
    site.pack.steps(3)
    site.pack.clock.advance(7200)
    site.pack.post(alert(2, alertname="Later"))
    site.pack.steps(3)
    assert site.document().cells["bdi"].count("Earlier") == 1
    for query in ("since=1h", "since=2026-11-21T10:00:00Z"):
        found = site.document(query).cells["bdi"]
        assert (found.count("Earlier"), found.count("Later")) == (0, 1)
    assert site.document("since=3h").cells["bdi"].count("Earlier") == 1
    status, body = site.get("since=yesterday")
    assert status == 400 and "a duration such as 24h" in body


def test_a_new_lifecycle_state_appears_by_itself(site, monkeypatch):
    """It appears in the counts, the filter and the rows."""
    site.pack.post(alert(1))
    site.pack.steps(3)
    for module in (overview, status_page):
        monkeypatch.setattr(module, "STATES", STATES + ("hibernating",))
    seen = site.pack.controller.snapshot()
    seen = replace(seen, alerts=[dict(seen.alerts[0], state="hibernating")])
    page = StatusPage(site.pack.settings, lambda: seen, site.pack.controller.health)
    document = Document(page(None, {"state": "hibernating"})[1].decode())
    assert ("a", "?state=hibernating") in [(t, a.get("href")) for t, a in document.tags]
    assert "hibernating" in document.cells["summary"][0]


# --- the alerts -----------------------------------------------------------------------------------


def test_the_most_urgent_alerts_come_first():
    """Those that need a person come before those that changed later."""
    site = Site(token="", max_attempts=1)
    failed(site.pack, 1)
    site.pack.stackstorm.rules.clear()
    site.pack.post(alert(7), alert(8))
    site.pack.steps(3)
    names = [cell for cell in site.document().cells["bdi"] if cell.startswith("web")]
    assert names[0] == "web1" and set(names[1:]) == {"web7", "web8"}


@pytest.mark.parametrize(
    "query, hosts",
    [
        ("", {"web1", "web2"}),
        ("state=unmatched", {"web1", "web2"}),
        ("state=resolved", {"web3"}),
        ("state=all", {"web1", "web2", "web3"}),
        ("alertname=disk", {"web2"}),
        ("severity=none", {"web2"}),
        ("severity=critical", {"web1"}),
        ("state=all&alertname=SERVICE&severity=critical", {"web1", "web3"}),
        ("state=pending", set()),
    ],
)
def test_alerts_are_filtered_by_state_alertname_and_severity(site, query, hosts):
    """Without a state, the active alerts are shown."""
    site.pack.post(alert(1), alert(2, alertname="DiskFull", severity=""), alert(3))
    site.pack.steps(3)
    site.pack.post(alert(3, status="resolved"))
    site.pack.steps(2)
    found = {cell for cell in site.document(query).cells["bdi"] if cell.startswith("web")}
    assert found == hosts


@pytest.mark.parametrize(
    "query, words",
    [
        ("state=bad", "state: unknown state &#34;bad&#34;; expected one of received"),
        ("page=x", "page: &#34;x&#34; given; expected a number from 1"),
        ("page=0", "page: &#34;0&#34;"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(site, query, words):
    """The error lists what is allowed, and the page is shown all the same."""
    status, body = site.get(query)
    assert status == 400 and words in body and "Nothing needs you" in body


def test_many_alerts_are_shown_in_pages(site):
    """The links keep the filter; a number beyond the last page gives the last page."""
    site.pack.post(*[alert(number) for number in range(status_page.ROWS + 1)])
    site.pack.steps(3)
    first = site.document("state=all&severity=critical")
    assert first.cells["summary"][0] and "Page 1 of 2" in first.text
    links = [a["href"] for tag, a in first.tags if a.get("rel") == "next"]
    assert links == ["?state=all&severity=critical&page=2"]
    for number in (2, 3, 999999999):
        text = site.text("state=all&page=%d" % number)
        assert "51-51 of 51 alerts, most urgent first" in text and "Page 2 of 2" in text


def test_a_row_opens_to_what_happened_and_why(site):
    """Its details have the timeline, attempts, executions and decisions with reasons."""
    failed(site.pack)
    request_id = site.pack.post(alert(1))
    site.pack.step()
    document = site.document()
    (detail,) = [c for c in document.cells["details"] if "Timeline" in c]
    for words in ("remediating", "attempt 1", "it did not come up", "core.noop"):
        assert words in detail
    assert "duplicate" in detail and "within its cooldown" in detail
    assert ("a", request_id) in [
        (tag, a.get("href", "").rpartition("/")[2]) for tag, a in document.tags
    ]


def test_an_execution_is_a_link_to_the_web_ui_when_it_is_known():
    """Otherwise the page shows the command for it."""
    linked = Site(token="", st2_web_url="https://st2.example.com/")
    failed(linked.pack)
    (execution_id,) = linked.pack.stackstorm.executions
    url = "https://st2.example.com/#/history/%s/general" % execution_id
    assert url in [a.get("href") for _, a in linked.document().tags]
    plain = Site(token="")
    failed(plain.pack)
    (execution_id,) = plain.pack.stackstorm.executions
    assert "st2 execution get " + execution_id in plain.document().cells["code"]


def test_decisions_are_known_after_a_restart(site):
    """The sensor reads the latest requests again."""
    failed(site.pack)
    site.pack.post(alert(1))
    site.pack.steps(3)
    before = site.text("state=all")
    site.pack.start()
    assert "within its cooldown" in before
    assert "within its cooldown" in site.text("state=all")


def test_the_commands_name_the_alert(site):
    """They are complete, ready to copy."""
    failed(site.pack)
    commands = site.document().cells["code"]
    name = site.pack.alert()["fingerprint"]
    assert 'st2 run poundcake.retry_alert fingerprint=%s reason="WHY"' % name in commands


@pytest.mark.parametrize(
    "name, argument",
    [
        ("It's", "alertname='It'\"'\"'s'"),
        ("$(reboot)", "alertname='$(reboot)'"),
        ("{{ config_context.token }}", "alertname='❴❴ config_context.token }}'"),
        ("a\x1b[201~reboot\n", None),
    ],
)
def test_a_command_may_be_copied_whatever_the_alert_is_called(site, name, argument):
    """The shell, StackStorm and the terminal find nothing to execute in it."""
    site.pack.post(alert(1, alertname=name))
    site.pack.steps(3)
    pauses = [c for c in site.document().cells["code"] if "poundcake.pause alertname=" in c]
    assert [c for c in pauses if "ALERTNAME" not in c] == (
        ['st2 run poundcake.pause %s reason="WHY"' % argument] if argument else []
    )


# --- held back, workflows, requests ---------------------------------------------------------------


def test_whatever_is_held_back_is_shown_with_the_command_to_end_it():
    """Pauses, maintenance, breakers and dry run."""
    site = Site(token="", breaker_failures=1, dry_run_alertnames=("Dry",))
    failed(site.pack)
    site.pack.pause(reason="deploying")
    site.pack.pause("HighCpu", reason="noisy")
    stackstorm, now = site.pack.stackstorm, site.pack.clock()
    window = controls.start_maintenance(stackstorm, 'a="b"', "2h", "upgrade", "bob", now)
    site.pack.steps(CONTROLS_IDLE_SECONDS + 1)
    document = site.document()
    text = " ".join(document.text.split())
    for words in (
        "paused everything, by ann since 2026-11-21 08:20:0",
        "paused HighCpu, by ann",
        'maintenance a="b", by bob until 2026-11-21 10:20:0',
        "breaker open ServiceDown, after 1 failure in a row; one remediation is tried at 2026-",
        "dry run Dry: decided and tracked, but not dispatched",
        "paused: everything, HighCpu",
        "breaker open: ServiceDown",
    ):
        assert words in text
    for command in (
        "st2 run poundcake.resume",
        "st2 run poundcake.resume alertname=HighCpu",
        "st2 run poundcake.end_maintenance id=" + window["id"],
    ):
        assert command in document.cells["code"]


def test_it_says_when_nothing_is_held_back(site):
    """The list is not just empty."""
    assert "Nothing is paused or in maintenance, and no breaker is open." in site.text()


def test_each_workflow_has_its_success_and_durations(site):
    """Both the median and p95, in seconds."""
    site.pack.stackstorm.rule("mine.fix")
    site.pack.post(alert(1), alert(2))
    site.pack.step()
    first, second = site.pack.stackstorm.running()
    site.pack.tick(3)
    site.pack.stackstorm.finish(first, "succeeded")
    site.pack.tick(4)
    site.pack.stackstorm.finish(second, "failed")
    site.pack.steps(3)
    document = site.document()
    at = document.cells["td"].index("50 %")
    assert document.cells["td"][at - 1 : at + 3] == ["2", "50 %", "5.0", "7.0"]


def test_recent_requests_are_listed_newest_first(site):
    """Each has its decisions and a link to its details."""
    ids = []
    for number in range(3):
        ids.append(site.pack.post(alert(number)))
        site.pack.step()
    document = site.document()
    shown = [a["href"] for tag, a in document.tags if a.get("id", "").startswith("r-")]
    assert shown == ["api/v1/status/" + request_id for request_id in reversed(ids)]
    assert "1 alert: 1 dispatch" in document.text


# --- alert text stays text ------------------------------------------------------------------------


@PROPERTY
@given(TRICKY_TEXT, TRICKY_TEXT)
def test_no_text_of_an_alert_becomes_markup(name, value):
    """As label, annotation, alertname or reason: the page has only the tags of its template."""
    hostile = "</dd><script>alert(1)</script><img src=x onerror=alert(1)>" + value
    site = Site(token="", dry_run=True)
    entry = alert(1, alertname=hostile, instance=hostile, **{"l" + name: hostile})
    entry["annotations"] = {hostile: hostile}
    entry["generatorURL"] = "javascript:alert(1)"
    site.pack.post(entry)
    site.pack.pause(hostile or "x", reason=hostile)
    site.pack.steps(2)
    document = site.document()
    assert [tag for tag, _ in document.tags].count("script") == 1
    assert "img" not in [tag for tag, _ in document.tags]
    for tag, attributes in document.tags:
        for attribute, text in attributes.items():
            assert not attribute.startswith("on") and attribute not in OUTWARD, (tag, attribute)
            assert not (text or "").lower().strip().startswith("javascript:")
    assert any("<img src=x onerror=alert(1)>" in cell for cell in document.cells["dd"])


def test_nothing_is_loaded_from_elsewhere_and_only_one_script_may_run(site):
    """The content security policy holds even if a value escapes its quotes."""
    document = site.document()
    policy = site.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    for directive in ("base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"):
        assert directive in policy
    assert site.headers["X-Content-Type-Options"] == "nosniff"
    assert site.headers["Referrer-Policy"] == "no-referrer"
    assert site.headers["Cache-Control"] == "no-store"
    loaded = [a["href"] for tag, a in document.tags if tag == "link"]
    assert loaded == ["data:,"]


@pytest.mark.parametrize("length", [1, status_page.CLIP, status_page.CLIP + 1, 60000])
def test_a_long_value_is_cut_and_marked_as_cut(site, length):
    """The page stays readable and small."""
    site.pack.post(alert(1, long="x" * length))
    site.pack.steps(2)
    status, body = site.get()
    assert status == 200 and ("(%d characters in all)" % length in body) == (
        length > status_page.CLIP
    )
    assert len(body) < 100000


# --- who may see it -------------------------------------------------------------------------------


def test_it_needs_the_credentials_of_the_webhook():
    """And it shows no secret of the config."""
    site = Site(token="t0ken-nobody-sees", username="ann", password="passw0rd-nobody-sees")
    assert site.get()[0] == 401
    status, body = site.get(HTTP_AUTHORIZATION="Bearer t0ken-nobody-sees")
    assert status == 200 and "nobody-sees" not in body


def test_it_is_read_only(site):
    """It answers GET alone and has no form that posts."""
    assert site.get(REQUEST_METHOD="POST")[0] == 405
    forms = [a for tag, a in site.document().tags if tag == "form"]
    assert [form["method"] for form in forms] == ["get"]


def test_it_is_read_while_the_sensor_decides():
    """Readers in other threads, such as the listener's, never see half a change."""
    site = Site(token="")
    site.pack.stackstorm.rule("mine.fix")
    stop, errors = threading.Event(), []

    def look():
        while not stop.wait(0.005):
            try:
                assert site.get("state=all")[0] == 200
            except BaseException as error:
                errors.append(error)
                return

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(60):
        site.pack.post(*[alert(number * 5 + k, alertname="A%d" % number) for k in range(5)])
        site.pack.step()
        site.pack.finish()
    stop.set()
    for reader in readers:
        reader.join()
    assert not errors


@pytest.mark.parametrize("url", ["st2.example.com", "javascript:alert(1)", "https://"])
def test_the_web_ui_s_address_is_checked(url):
    """It is used in links."""
    with pytest.raises(SettingsError) as caught:
        from_config({"st2_web_url": url})
    assert str(caught.value).startswith("st2_web_url: ")


def test_the_template_escapes_everything():
    """It marks no value as safe, and puts none into the script or the style."""
    source = open(re.sub("py$", "html.j2", status_page.__file__), encoding="utf-8").read()
    assert "safe" not in re.findall(r"\|\s*(\w+)", source)
    for part in re.findall("<(?:script|style)>(.*?)</", source, re.S):
        assert "{{" not in part and "{%" not in part
