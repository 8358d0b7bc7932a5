#!/bin/sh
# Removes rotated logs and old temporary files from the file system at $MOUNTPOINT: what nobody wrote
# to for $LOG_DAYS in $LOG_PATHS, and nobody used for $TEMP_DAYS in $TEMP_PATHS (one path per line).
# Exits 0 if it removed files, 3 if there was nothing to remove, 77 if it may not, and otherwise with
# another code. Prints what it removed and how much that freed. Needs root or sudo -n sh.
export LC_ALL=C
available() { df -k --output=avail -- "$MOUNTPOINT" | tail -n 1; }
set --; [ "$(id -u)" = 0 ] || set -- sudo -n
"$@" sh -c : || { echo "it needs root or sudo -n sh"; exit 77; }
before=$(available)
# shellcheck disable=SC2016 # the inner sh expands it
report=$("$@" sh -c '
  export LC_ALL=C
  [ 1 -le "$2" ] && [ 1 -le "$4" ] && [ "$(stat -c %m -- "$1")" = "$1" ] || exit
  device=$(stat -c %d -- "$1") && [ -d /proc/self/fd ] || exit
  open=$(find -L /proc/[0-9]*/fd /proc/[0-9]*/map_files -maxdepth 1 -type f -printf "%D %i\n" 2>/dev/null |
    sed -n "s/^$device //p" | sort -u)
  # -xdev does not notice a folder that is mounted a second time below the path.
  mounted_below() {
    cut -d " " -f 5 /proc/self/mountinfo | while read -r mount; do
      mount=$(printf "%b" "$mount")
      case $mount in "$dir"/*) [ "$(stat -c %d -- "$mount")" != "$device" ] || echo "$mount" ;; esac
    done
  }
  clean() {
    printf "%s\n" "$paths" | while IFS= read -r dir; do
      left() { printf "0\t0\tleft alone: %s, %s\0" "$dir" "$1"; }
      [ -n "$dir" ] || continue
      case $dir in
        *[!/]*) dir=${dir%"${dir##*[!/]}"} ;;
        *) left "that is everything"; continue ;;
      esac
      case $dir in
        [!/]*) left "no absolute path"; continue ;;
        *[%\\[:cntrl:]]*) left "of this name nothing is removed"; continue ;;
      esac
      # From here on, work in this folder, even if a link replaces its path.
      cd -P -- "$dir" 2>/dev/null || { left "no such folder"; continue; }
      [ "$(pwd -P)" = "$dir" ] || { left "it leads to $(pwd -P)"; continue; }
      [ "$(stat -c %d .)" = "$device" ] || { left "it is on another file system"; continue; }
      [ -z "$(mounted_below)" ] || { left "a part of the file system is mounted below it again"; continue; }
      in_use=$({ echo "$open"; find . -xdev -type f "$@" -printf "%i\n" | sort -u; } | sort | uniq -d)
      for inode in $in_use; do set -- "$@" ! -inum "$inode"; done
      find . -xdev -type f "$@" -delete -printf "%b\t%n\t$dir/%P\0"
    done
  }
  paths=$3 age=$(($2 * 1440))
  clean -mmin "+$age" "(" -name "*.gz" -o -name "*.bz2" -o -name "*.xz" -o -name "*.zst" -o -name "*.old" \
    -o -name "*.[0-9]" -o -name "*.[0-9][0-9]" -o -name "*.[0-9][0-9][0-9]" \
    -o -name "*-[12][0-9][0-9][0-9][01][0-9][0-3][0-9]" ")"
  paths=$5 age=$(($4 * 1440))
  clean -mmin "+$age" -amin "+$age" -cmin "+$age"
  printf "0\t0\tend\0"
' sh "$MOUNTPOINT" "$LOG_DAYS" "$LOG_PATHS" "$TEMP_DAYS" "$TEMP_PATHS" </dev/null |
  tr "\n\000" "?\n" | sort -rn | awk -F "\t" '
    { name = $0; sub(/^[0-9]*\t[0-9]*\t/, "", name); name = substr(name, 1, 200) }
    $2 == 0 && name == "end" { ended = 1; next }
    $2 == 0 { left = left "\n" name; next }
    # A file with another hard link frees nothing.
    { files++; mb = $1 * 512 / 1e6; if ($2 == 1) sum += mb }
    files <= 10 { list = list sprintf("\n%.1f MB %s", mb, name) }
    END {
      printf "%d files with %.1f MB", files, sum
      print (files > 10 ? ", of them" : "") list left
      if (!ended) print "it did not run to its end; it needs root or sudo -n sh"
      exit !ended ? 1 : files ? 0 : 3
    }')
code=$?
# Some file systems free space late, and df would not show it yet.
timeout 20 sync -f -- "$MOUNTPOINT"
echo "$report"
echo "df: $before KiB available before, $(available) KiB after"
exit "$code"
