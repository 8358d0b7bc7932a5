from poundcake.flight_recorder import jfr
from poundcake.inert import inert_text
from poundcake.st2.action import PackAction


class CollectJfr(PackAction):
    def run(self, kube_context, namespace, pod, sts):
        return self.answer(jfr.collect, self.settings, kube_context, namespace, pod, sts, _show)


def _show(line):
    # At once: StackStorm streams what an action prints.
    print(inert_text(line), flush=True)
