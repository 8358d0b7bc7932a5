#!/bin/sh
# Shows what fills the file system at $MOUNTPOINT; without $MOUNTPOINT, how full all of them are.
# Exits 0 if at most $USED_PERCENT of its space and inodes are used, 1 if more is used, 2 if it could
# not check, and 77 if the next try could not check either. It sees more as root or with sudo -n.
export LC_ALL=C
if [ -z "${MOUNTPOINT-}" ]; then
  df -h -x tmpfs -x devtmpfs
  exit 3
fi
[ "$(stat -c %m -- "$MOUNTPOINT")" = "$MOUNTPOINT" ] || { echo "nothing is mounted there"; exit 77; }
device=$(stat -c %d -- "$MOUNTPOINT")
size=$(df -k --output=size -- "$MOUNTPOINT" | tail -n 1)
used=$(df --output=pcent -- "$MOUNTPOINT" | tail -n 1 | tr -d " %")
inodes=$(df --output=ipcent -- "$MOUNTPOINT" | tail -n 1 | tr -d " %" | tr - 0)
set --; [ "$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && set -- sudo -n; }
top() { sort -z -rn | head -z -n "$1" | tr "\n\000" "?\n" | cut -c 1-200; }
echo "space used: $used %, inodes used: $inodes %, allowed: $USED_PERCENT %"
echo "the largest that du found in 20 s, KiB:"
"$@" timeout 20 nice -n 19 du -k -x -a -0 -t "$((size / 100))K" -- "$MOUNTPOINT" 2>/dev/null | top 15
if [ "$inodes" -gt "$USED_PERCENT" ]; then
  echo "the most files that du found in 20 s:"
  "$@" timeout 20 nice -n 19 du --inodes -x -0 -t 100 -- "$MOUNTPOINT" 2>/dev/null | top 10
fi
echo "deleted, but still held open, KiB:"
"$@" find -L /proc/[0-9]*/fd -maxdepth 1 -type f -links 0 -size +0 -printf "%D %k %p\0" 2>/dev/null |
  sed -z -n "s/^$device //p" | top 5
[ "$used" -le "$USED_PERCENT" ] && [ "$inodes" -le "$USED_PERCENT" ]
