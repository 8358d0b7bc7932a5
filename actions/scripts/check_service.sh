#!/bin/sh
# Shows $SERVICE; without $SERVICE, the units that failed.
# Exits 0 if it is up, 3 if no service is given, 77 if a restart cannot help, and otherwise with
# another code.
export LC_ALL=C
if ! command -v systemctl >/dev/null; then
  echo "there is no systemctl here"
  exit 77
fi
if [ -z "${SERVICE-}" ]; then
  systemctl list-units --failed --no-pager --plain --no-legend
  exit 3
fi
case $SERVICE in
  -* | *[!0-9A-Za-z:_.\\@-]*)
    echo "not the name of one unit"
    exit 77
    ;;
esac
echo "$SERVICE is $(systemctl is-active -- "$SERVICE" 2>/dev/null)"
systemctl status --no-pager --lines=10 -- "$SERVICE"
case $(systemctl show --property LoadState -- "$SERVICE" 2>/dev/null) in
  LoadState=not-found) echo "the unit is unknown here"; exit 77 ;;
  LoadState=masked) echo "the unit is masked"; exit 77 ;;
esac
systemctl is-active --quiet -- "$SERVICE"
