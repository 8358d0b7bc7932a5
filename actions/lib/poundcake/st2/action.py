"""The base of the pack's actions: StackStorm's API, the settings, and answers safe to pass on."""

from typing import Any, Callable

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

    def acting_person(self, by: str) -> str:
        """Return who acts: ``by`` if it is given, otherwise the user of this execution."""
        return people.operator(self.action_service, by)

    def answer(
        self, function: Callable[..., Any], *args: Any, safe: Callable[[Any], Any] = inert
    ) -> Any:
        """Call a function of the library and return its answer as the result of the action.

        A workflow may publish the result, and StackStorm evaluates expressions in what a workflow
        publishes: so the answer is made inert. An expected failure becomes ``(False, {...})``.

        :param safe: a callable to use instead of ``inert`` when the answer holds no text of alerts.
        """
        try:
            return safe(function(*args))
        except ExpectedError as error:
            return False, inert(dict(error.details, error=str(error)))
