#!/bin/sh
# Prints how much memory is available, and the top processes by resident memory.
# Exits 0 if at least $FREE_PERCENT of it is available, 1 if the processes of $SERVICE hold at least
# $SHARE_PERCENT of the rest, 3 if they hold less, and 2 if it could not measure.
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
  # The fields of a file such as /proc/meminfo, in kB. The kernel escapes line breaks in names.
  function read(file, of,    line, key) {
    split("", of)
    while ((getline line < file) > 0) {
      key = substr(line, 1, index(line, ":") - 1)
      sub(/^[^:]*:[ \t]*/, "", line); of[key] = line
    }
    close(file)
  }
  BEGIN {
    while ((ENVIRON["PIDS_COMMAND"] | getline line) > 0) {
      said = line
      for (at = split(line, words); at; at--) ours[words[at]] = 1
    }
    if (close(ENVIRON["PIDS_COMMAND"])) {
      print "The processes of the service are unknown. " substr(said, 1, 200); exit 2
    }
    read("/proc/meminfo", host)
    total = host["MemTotal"] + 0; available = host["MemAvailable"] + 0; taken = total - available
    if (total <= 0 || !("MemAvailable" in host)) { print "The memory cannot be measured."; exit 2 }
    list = "ls /proc"
    while ((list | getline pid) > 0) {
      if (pid !~ /^[0-9]+$/) continue
      read("/proc/" pid "/status", process)
      if (process["VmRSS"] + 0 == 0) continue
      if (pid in ours) {
        # Shared memory counts once. Mapped files do not count, because their memory is
        # available.
        held += process["RssAnon"]; count++
        if (process["RssShmem"] + 0 > shared) shared = process["RssShmem"] + 0
      }
      gsub(/[^ -~]/, "?", process["Name"])
      rows = rows sprintf("%8d %s %-8d %s\n", process["VmRSS"] / 1024, pid in ours ? "*" : " ", pid, process["Name"])
    }
    close(list)
    free = 100 * available / total; share = 100 * (held + shared) / taken
    printf "%.1f %% of the memory is available, %d of %d MB. %.1f %% of the rest is held by the service, which has %d processes (*).\n", free, available / 1024, total / 1024, share, count
    print "      MB   PID      NAME"; fflush()
    top = "sort -rn | head -n 10"; printf "%s", rows | top; close(top)
    if (free >= ENVIRON["FREE_PERCENT"] + 0) exit 0
    exit share >= ENVIRON["SHARE_PERCENT"] + 0 ? 1 : 3
  }'
