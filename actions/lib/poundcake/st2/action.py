"""What every action of the pack has: StackStorm's API, and answers that are safe to pass on."""

from st2common.runners.base_action import Action

from poundcake.errors import ExpectedError
from poundcake.inert import inert
from poundcake.st2.client import StackStorm


class PackAction(Action):
    """Base of the pack's actions."""

    @property
    def stackstorm(self):
        return StackStorm(self.action_service.datastore_service.get_api_client)

    def answer(self, question, *args, safe=inert):
        """Return what a function of ``queries`` answers; it gets StackStorm and the arguments."""
        return self.answer_of(question, self.stackstorm, *args, safe=safe)

    def answer_of(self, question, *args, safe=inert):
        """Return what a function answers that need not know StackStorm.

        A result of an action may be published by a workflow, and StackStorm evaluates expressions
        in what it publishes: the answer is made inert. An expected failure is ``(False, {...})``.

        :param safe: another callable than ``inert`` where no alert has a part in the answer.
        """
        try:
            return safe(question(*args))
        except ExpectedError as error:
            return False, inert(dict(error.details, error=str(error)))
