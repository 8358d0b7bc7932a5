from poundcake import settings
from poundcake.flight_recorder import jfr
from poundcake.inert import inert_text
from poundcake.st2.action import PackAction


class CollectJfr(PackAction):
    def run(self, kube_context, namespace, pod, sts):
        found = settings.from_config(self.config)
        return self.answer_of(jfr.collect, found, kube_context, namespace, pod, sts, _show)


def _show(line):
    # At once: StackStorm streams what an action prints.
    print(inert_text(line), flush=True)
