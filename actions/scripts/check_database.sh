#!/bin/sh
# Asks whether the database at $ADDRESS:$PORT accepts connections. $KIND is postgresql or tcp.
# Exits 0 if it does, 1 if it does not, 2 while it starts up or shuts down, 3 if it could not check,
# and 77 if the next try could not check either. Shows the state of $SERVICE too, if it is given.
ask_postgresql() {
  pg_isready --timeout=5 --host="$ADDRESS" --port="$PORT"
  case $? in
    0) return 0 ;;
    1) return 2 ;;
    2) return 1 ;;
    *) return 3 ;;
  esac
}
ask_port() {
  for program in bash timeout; do
    command -v "$program" >/dev/null || { echo "$program is missing"; return 77; }
  done
  # shellcheck disable=SC2016 # bash expands it
  if timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$ADDRESS" "$PORT"; then
    echo "the port accepts connections"
  else
    echo "the port does not accept connections"
    return 1
  fi
}
getent ahosts "$ADDRESS" >/dev/null || { echo "the address is unknown here"; exit 3; }
if [ "$KIND" = postgresql ] && command -v pg_isready >/dev/null; then
  ask_postgresql
else
  ask_port
fi
code=$?
if [ -n "${SERVICE-}" ]; then
  systemctl status --no-pager --lines=10 -- "$SERVICE" 2>&1 | head -n 30
fi
exit "$code"
