#!/bin/sh
# Make the secrets of compose.yaml in ./secrets, once. Prints none of them.
# The files are readable inside a folder only you can enter: a container sees the file, not the folder,
# and runs under another user id. Keys of the log are made by the `setup` service, on a volume of their own.
set -eu

folder="$(dirname "$0")/secrets"
if [ -e "$folder" ]; then
    echo "expected no secrets yet, found $folder" >&2
    exit 1
fi
umask 077
mkdir "$folder"

password="$(openssl rand -hex 32)"
write() {
    printf '%s\n' "$2" > "$folder/$1"
    chmod 0444 "$folder/$1"
}
write database_password "$password"
write database_url "postgresql://auditlog:$password@database:5432/auditlog"
write capture_token "alt_$(openssl rand -hex 32)"
write reader_token "alt_$(openssl rand -hex 32)"
echo "made 4 secrets in $folder"
