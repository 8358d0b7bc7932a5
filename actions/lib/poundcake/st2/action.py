"""The base of the pack's actions: StackStorm's API, the settings, and answers safe to pass on."""

from typing import Any, Callable, Optional

from st2common.runners.base_action import Action

from poundcake import people
from poundcake.errors import ExpectedError
from poundcake.inert import inert
from poundcake.settings import Settings, from_config
from poundcake.st2.client import StackStorm


class PackAction(Action):
    """Base of the pack's actions."""

    @property
    def stackstorm(self) -> StackStorm:
        """StackStorm's API, as the user of this execution."""
        return StackStorm(self.action_service.datastore_service.get_api_client)

    @property
    def settings(self) -> Settings:
        """The pack's config; SettingsError when it cannot be used."""
        return from_config(self.config, lambda key: self.stackstorm.get_secret(key))

    def operator(self, by: str, chat_user: str = "") -> people.Operator:
        """Return who acts (see ``people.operator``)."""
        return people.operator(self.action_service, by, chat_user)

    def answer(
        self,
        function: Callable[..., Any],
        *args: Any,
        safe: Callable[[Any], Any] = inert,
        chat: Optional[Callable[[Any], str]] = None,
    ) -> Any:
        """Call a function of the library and return its answer as the result of the action.

        A workflow may publish the result, and StackStorm evaluates expressions in what a workflow
        publishes: so the answer is made inert. An expected failure becomes ``(False, {...})``.

        :param safe: a callable to use instead of ``inert`` when the answer holds no text of alerts.
        :param chat: a callable that returns the text for chat, given the answer or the failure.
        """
        try:
            return safe(_with_chat(function(*args), chat))
        except ExpectedError as error:
            return False, inert(_with_chat(dict(error.details, error=str(error)), chat))

    def act(
        self,
        function: Callable[..., Any],
        *args: Any,
        by: str,
        chat_user: str = "",
        chat: Optional[Callable[[Any], str]] = None,
    ) -> Any:
        """Answer as ``answer`` does, for a function that takes the acting person as ``by``."""

        def call() -> Any:
            return function(*args, by=self.operator(by, chat_user).name)

        return self.answer(call, chat=chat)


def _with_chat(answer: Any, chat: Optional[Callable[[Any], str]]) -> Any:
    """Return an answer with its text for chat; the table for terminals stays the last key."""
    if not chat:
        return answer
    table = {"table": answer["table"]} if "table" in answer else {}
    rest = {name: value for name, value in answer.items() if name != "table"}
    return dict(rest, chat=chat(answer), **table)
