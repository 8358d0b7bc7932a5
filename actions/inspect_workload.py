from poundcake.st2.action import PackAction
from poundcake.workloads import remedies


class InspectWorkload(PackAction):
    def run(
        self,
        namespace,
        workload,
        kind,
        pod,
        container,
        cluster,
        min_ready_percent,
        restart_by,
        log_lines,
    ):
        return self.answer(
            remedies.inspect,
            self.settings,
            namespace,
            workload,
            kind,
            pod,
            container,
            cluster,
            min_ready_percent,
            restart_by,
            log_lines,
        )
