#!/usr/bin/env bash
# The HTTP API with curl, read side first (auditlog/spec/api.md). Nothing here is taken on trust: what a log says is
# checked with the proofs it gives, by `auditlog verify`, or by clients/stdlib_client.py.
#
#   AUDITLOG_LOG=http://127.0.0.1:8700/logs/main READ_TOKEN=... [ADMIN_TOKEN=...] bash clients/walkthrough.sh
set -euo pipefail

log="${AUDITLOG_LOG:?the prefix of a log, such as http://127.0.0.1:8700/logs/main}"
read_token="${READ_TOKEN:?a token with scope read}"
service="${log%/logs/*}"
ask() { curl --silent --show-error --fail --max-time 30 "$@"; }
reader=(--header "Authorization: Bearer $read_token")

echo "# Is the service up, and are its logs ready?"
ask "$service/health"; echo
ask "$service/ready"; echo

echo "# What is this log? Keep origin and vkey: everything else is checked with them."
ask "$log"; echo

echo "# The newest published checkpoint: origin, size, root, signatures. Open to everyone."
checkpoint="$(ask "$log/checkpoint")"
echo "$checkpoint"
size="$(sed -n 2p <<<"$checkpoint")"

echo "# The first hash tile, as every tlog client reads it (its first leaf hash in hex)."
width=$((size < 256 ? size : 256))
tile="tile/0/000$([ "$width" -eq 256 ] || echo ".p/$width")"
ask "${reader[@]}" "$log/$tile" | head -c 32 | od -An -v -tx1 | tr -d ' \n'; echo

echo "# Entry 0 (genesis), and its leaf hash made from its bytes: the same as above."
ask "${reader[@]}" "$log/entries/0"; echo
{ printf '\0'; ask "${reader[@]}" "$log/entries/0"; } | sha256sum | cut -d' ' -f1

echo "# Proofs: entry 0 is in the tree of this size; the tree of size 1 is its prefix."
ask "${reader[@]}" "$log/proofs/inclusion?index=0&size=$size"; echo
ask "${reader[@]}" "$log/proofs/consistency?from=1&to=$size"; echo

echo "# The receipt of entry 0, for a reader. (A decision's own address needs no token.)"
ask "${reader[@]}" "$log/receipts/0" | head -c 60; echo ...

echo "# A refusal has one shape, and says what was expected and found."
curl --silent --max-time 30 "${reader[@]}" "$log/proofs/inclusion?index=$size&size=$size"; echo

if [ -n "${ADMIN_TOKEN:-}" ]; then
  echo "# An admin mints a token for one log, shown this once; then revokes it."
  curl --silent --max-time 30 --header "Authorization: Bearer $ADMIN_TOKEN" --header "Content-Type: application/json" \
    --data "{\"name\":\"walkthrough-$$\",\"scopes\":[\"read\"],\"logs\":[\"${log##*/}\"]}" "$service/tokens" |
    sed 's/alt_[A-Za-z0-9_-]*/alt_.../'; echo
  curl --silent --max-time 30 --request DELETE --header "Authorization: Bearer $ADMIN_TOKEN" \
    --output /dev/null --write-out '%{http_code}\n' "$service/tokens/walkthrough-$$"
fi
