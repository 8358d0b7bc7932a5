"""How the pack logs in to an HTTP server with a token, and what it says when that fails."""

from typing import Callable

import requests

from poundcake.errors import ExpectedError

Login = Callable[[requests.PreparedRequest], requests.PreparedRequest]


def with_token(token: str, scheme: str = "Bearer") -> Login:
    """Return what requests takes as ``auth``: it prefers a login of ~/.netrc to a plain header."""

    def login(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"{scheme} {token}"
        return request

    return login


def malformed(setting: str) -> ExpectedError:
    """Return the error for a token that no header can hold. It does not repeat the token."""
    problem = "has a character that is not allowed in a token, such as a line break"
    return ExpectedError(setting, problem)


def unencrypted(setting: str, token_setting: str) -> ExpectedError:
    """Return the error for a URL that would send a token in the clear."""
    problem = f"http would show {token_setting} to the network"
    return ExpectedError(setting, problem, "an https URL")


def not_json(setting: str, url: str, server: str) -> ExpectedError:
    """Return the error for an answer that is not JSON, as of a proxy or another server."""
    return ExpectedError(setting, f"{url} does not answer with JSON", f"the URL of {server}")
