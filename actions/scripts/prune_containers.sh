#!/bin/sh
# Prunes what docker and podman do not use, where their store is on the file system at $MOUNTPOINT.
# Exits 0 if it pruned, 3 if there was nothing to prune, and 1 if that failed. Needs root or sudo -n.
export LC_ALL=C
set --; [ "$(id -u)" = 0 ] || set -- sudo -n
code=3
for tool in docker podman; do
  command -v "$tool" >/dev/null || continue
  store=$("$@" "$tool" info 2>/dev/null </dev/null | sed -n "s/^ *Docker Root Dir: //p; s/^ *graphRoot: //p")
  if [ "$("$@" stat -c %d -- "$store")" = "$(stat -c %d -- "$MOUNTPOINT")" ]; then
    said=$("$@" "$tool" system prune --force 2>&1 </dev/null) && code=0 || exit 1
    echo "$tool: $said" | tail -n 3
  else
    echo "$tool: left alone, its store is not on this file system"
  fi
done
exit "$code"
