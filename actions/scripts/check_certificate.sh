#!/bin/sh
# Prints the certificate of $SERVER_NAME:$PORT. Reads expired, self-signed and mismatched ones, too.
# Exits 0 if it is valid for more than $DAYS days, 1 if it is not, and 2 if it cannot be read.
case $SERVER_NAME in
  '['*) ;;
  *[!0-9.]*) set -- -servername "$SERVER_NAME" ;;
esac
said=$(timeout 10 openssl s_client -connect "$SERVER_NAME:$PORT" "$@" -verify_quiet </dev/null 2>&1)
if ! pem=$(printf '%s\n' "$said" | openssl x509 2>/dev/null); then
  printf 'no certificate came from %s:%s within 10 s\n' "$SERVER_NAME" "$PORT"
  printf '%s\n' "$said" | grep -i err | head -n 5
  exit 2
fi
end=$(printf '%s\n' "$pem" | openssl x509 -noout -enddate | cut -d= -f2)
printf 'days left: %d\n' "$((($(date -d "$end" +%s) - $(date +%s)) / 86400))"
printf '%s\n' "$pem" | openssl x509 -noout -enddate -subject -issuer -ext subjectAltName 2>&1
printf '%s\n' "$pem" | openssl x509 -noout -checkend "$((DAYS * 86400))"
