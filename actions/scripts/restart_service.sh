#!/bin/sh
# Restarts $SERVICE. Exits 0 if it was restarted, 77 if the next try would be refused, too, and
# otherwise with the code of systemctl. Needs root or sudo -n systemctl.
export LC_ALL=C
case $SERVICE in
  '' | -* | *[!0-9A-Za-z:_.\\@-]*)
    echo "not the name of one unit"
    exit 77
    ;;
  # A target such as reboot.target is no service, whoever asked for it.
  *.target | *.slice | *.scope | *.mount | *.automount | *.swap | *.device | *.snapshot)
    echo "a unit of this type is not restarted"
    exit 77
    ;;
esac
set --
[ "$(id -u)" = 0 ] || set -- sudo -n
said=$("$@" systemctl restart -- "$SERVICE" 2>&1 </dev/null)
code=$?
[ -z "$said" ] || echo "$said"
case $code/$said in
  0/*) exit 0 ;;
  */*"password is required"* | */*"not allowed"* | */*"not in the sudoers"*) exit 77 ;;
  */*"not found"* | */*"is masked"* | */*"Access denied"* | */*"uthentication"*) exit 77 ;;
esac
exit "$code"
