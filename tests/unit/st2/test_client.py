"""Listings end and are whole, and requests are repeated only where that is harmless."""

from types import SimpleNamespace

import pytest
import requests
from poundcake.errors import StackStormError
from poundcake.st2 import client
from poundcake.st2.client import PAGE, StackStorm


class Listing:
    """An API with one listing; it counts the requests."""

    def __init__(self, count, pages=True, total=True, admin=True, identity="id"):
        self.documents = [{identity: f"d{number:04}"} for number in range(count)]
        self.pages, self.total, self.admin = pages, total, admin
        self.asked = []

    def request(self, method, url, params, **_):
        self.asked.append((params["limit"], params.get("offset")))
        if params["limit"] == -1:
            if not self.admin:
                return answer({"faultstring": "only admins"}, {}, 403)
            return answer(self.documents, {})
        start = params["offset"] if self.pages else 0
        headers = {"X-Total-Count": str(len(self.documents))} if self.total else {}
        return answer(self.documents[start : start + params["limit"]], headers)


def answer(body, headers, status=200):
    return SimpleNamespace(json=lambda: body, headers=headers, status_code=status, text=str(body))


def stackstorm(listing):
    made = StackStorm(
        lambda: SimpleNamespace(endpoints={"api": "http://api"}, token="", cacert=None)
    )
    made._local.session = listing
    return made


@pytest.mark.parametrize("pages", [True, False])
@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 350])
def test_a_listing_gives_every_document_once(count, pages):
    """With an offset that the endpoint takes, and with one that it ignores."""
    listing = Listing(count, pages)
    assert stackstorm(listing).list_resources("rules") == listing.documents
    assert len(listing.asked) <= count // PAGE + 3


def test_a_listing_without_offset_and_without_a_total_ends():
    """It cannot know that something is missing, but it does not ask for ever."""
    listing = Listing(350, pages=False, total=False)
    assert len(stackstorm(listing).list_resources("actions")) == PAGE
    assert len(listing.asked) == 2


def test_rules_are_asked_for_at_most_twice():
    """StackStorm ignores their offset, and each rule costs it ten milliseconds."""
    listing = Listing(350, pages=False)
    assert len(stackstorm(listing).list_resources("rules")) == 350
    assert listing.asked == [(PAGE, 0), (-1, None)]


def test_who_may_not_read_everything_is_told():
    """A part of the rules must not pass for all of them."""
    listing = Listing(350, pages=False, admin=False)
    with pytest.raises(StackStormError, match="403"):
        stackstorm(listing).list_resources("rules")


def test_keys_come_without_a_total_and_from_an_offset():
    """Datastore keys are told apart by their names."""
    listing = Listing(250, total=False, identity="name")
    for document in listing.documents:
        document["value"] = "v"
    names = [name for name, _ in stackstorm(listing).each_key("d", skip=120)]
    assert names == [document["name"] for document in listing.documents[120:]]


def test_a_listing_is_bounded(monkeypatch):
    """Even if every page brings something new."""
    monkeypatch.setattr(client, "MOST_PAGES", 3)
    with pytest.raises(StackStormError, match="more than 300 documents"):
        stackstorm(Listing(1000)).list_resources("actions")


class Hangup:
    """An API that closes so many connections without an answer; it records the requests."""

    def __init__(self, count):
        self.left, self.methods = count, []

    def request(self, method, url, **_):
        self.methods.append(method)
        if self.left:
            self.left -= 1
            raise requests.ConnectionError("Remote end closed connection without response")
        return answer({"id": "1"}, {})


def test_a_request_on_a_connection_that_was_just_closed_is_made_again():
    """StackStorm's API closes idle connections; reading or writing twice changes nothing."""
    api = Hangup(1)
    stackstorm(api).set_key("k", "v")
    assert api.methods == ["PUT", "PUT"]
    with pytest.raises(StackStormError, match="without response"):
        stackstorm(Hangup(2)).get_resource("rules", "a.b")


def test_a_post_is_made_once():
    """It would start a second execution."""
    api = Hangup(1)
    with pytest.raises(StackStormError, match="without response"):
        stackstorm(api).run_action("core.noop", {})
    assert api.methods == ["POST"]


@pytest.mark.parametrize("status, value", [(200, "s3cret"), (404, None)])
def test_a_secret_is_asked_for_in_the_clear(status, value):
    """By its exact name; an absent key is told apart from an API that is away."""
    asked = []

    class Keys:
        def request(self, method, url, params, **_):
            asked.append((method, url, params))
            return answer({"value": value}, {}, status)

    assert stackstorm(Keys()).get_secret("a:b") == value
    assert asked == [("GET", "http://api/keys/a%3Ab", {"decrypt": "true"})]


def test_a_secret_that_may_not_be_read_is_an_error():
    """StackStorm's roles may forbid it."""

    class Keys:
        def request(self, *_, **__):
            return answer({"faultstring": "no"}, {}, 403)

    with pytest.raises(StackStormError, match="GET /keys/a: 403"):
        stackstorm(Keys()).get_secret("a")
