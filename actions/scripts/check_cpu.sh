#!/bin/sh
# Measures the CPUs for $SAMPLE_SECONDS and prints the top processes.
# Exits 0 if the CPUs are busy for less than $BUSY_PERCENT of the time, 1 if the processes of $SERVICE
# take at least $SHARE_PERCENT of that, 3 if they take less, and 2 if it could not measure.
# It shows the names of processes but not their arguments, which may contain passwords.
# Prints the pids of $SERVICE and its children. Only for services: system.slice would contain nearly
# every process. A command in $PIDS_COMMAND replaces it.
# shellcheck disable=SC2016 # awk runs it
pids_of_the_service='
  exec 2>&1
  [ -n "$SERVICE" ] || exit 0
  group=$(systemctl show --property ControlGroup -- "$SERVICE") || exit
  case $group in
    ControlGroup=) ;;
    ControlGroup=*.service)
      group=${group#*=}
      find "/sys/fs/cgroup$group" "/sys/fs/cgroup/systemd$group" -name cgroup.procs \
        -exec cat {} + 2>/dev/null
      true
      ;;
    *) echo "not the name of one service"; exit 1 ;;
  esac'
export LC_ALL=C SERVICE="${SERVICE-}" PIDS_COMMAND="${PIDS_COMMAND:-$pids_of_the_service}"
awk '
  # Measurement n: ticks since boot of the CPUs and of each process.
  function look(n,    row, of, line, at, words, said, list, pid) {
    getline row < "/proc/stat"; close("/proc/stat"); split(row, of)
    busy[n] = of[2] + of[3] + of[4] + of[7] + of[8] + of[9]
    time[n] = busy[n] + of[5] + of[6]
    while ((ENVIRON["PIDS_COMMAND"] | getline line) > 0) {
      said = line
      for (at = split(line, words); at; at--) ours[n, words[at]] = 1
    }
    if (close(ENVIRON["PIDS_COMMAND"])) {
      print "The processes of the service are unknown. " substr(said, 1, 200); exit 2
    }
    list = "ls /proc"
    while ((list | getline pid) > 0) if (pid ~ /^[0-9]+$/) look_at(n, pid)
    close(list)
  }
  # A name may contain brackets and line breaks: it ends at the last bracket.
  function look_at(n, pid,    file, line, text, of, id) {
    file = "/proc/" pid "/stat"
    while ((getline line < file) > 0) text = text line "\n"
    close(file)
    if (!match(text, /.*\)/)) return
    split(substr(text, RLENGTH + 2), of, " ")
    # With its start time, because pids are reused.
    id = pid " " of[20]; own[n, id] = of[12] + of[13]; seen[id] = n
    if ((n, pid) in ours) { member[id] = n; whole[n] += own[n, id] + of[14] + of[15] }
    name[id] = substr(text, 1, RLENGTH - 1); sub(/^[^(]*\(/, "", name[id])
    gsub(/[^ -~]/, "?", name[id])
  }
  BEGIN {
    look(1); system("sleep " (ENVIRON["SAMPLE_SECONDS"] + 0)); look(2)
    worked = busy[2] - busy[1]; total = time[2] - time[1]
    if (total <= 0) { print "The CPUs cannot be measured."; exit 2 }
    for (id in seen) if (seen[id] == 2) {
      spent = own[2, id] - own[1, id]
      if (member[id] == 2) { used += spent; count++ }
      rows = rows sprintf("%6.1f %s %-8d %s\n", 100 * spent / total, member[id] == 2 ? "*" : " ", id, name[id])
    }
    # Children that started and ended count too: their parents have their ticks. More ticks
    # than the CPUs had come from a child that worked before the first measurement.
    all = whole[2] - whole[1]
    if (all > used && all <= worked) used = all
    share = worked > 0 ? 100 * used / worked : 0; load = 100 * worked / total
    printf "The CPUs were busy %.1f %% of the time. %.1f %% of that was the service, which has %d processes (*).\n", load, share, count
    print " %CPUs   PID      NAME"; fflush()
    top = "sort -rn | head -n 10"; printf "%s", rows | top; close(top)
    if (load < ENVIRON["BUSY_PERCENT"] + 0) exit 0
    exit share >= ENVIRON["SHARE_PERCENT"] + 0 ? 1 : 3
  }'
