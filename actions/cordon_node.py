from poundcake.st2.action import PackAction
from poundcake.workloads import remedies


class CordonNode(PackAction):
    def run(self, node):
        return self.answer(remedies.set_schedulable, self.settings, node, False)
