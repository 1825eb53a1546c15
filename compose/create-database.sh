#!/bin/sh
# Runs once, in a new PostgreSQL container: the two roles of one service, and the database that only they may enter.
# Needs ROLE (such as aegis_executor) and the secrets owner-password and password. TAKES names a role of further rights,
# which it makes too, and which ROLE can take but has not by itself.
set -eu
secrets=${SECRETS:-/run/secrets}
owner_password=$(cat "$secrets/owner-password")
password=$(cat "$secrets/password")
psql --username "$POSTGRES_USER" --set=ON_ERROR_STOP=1 \
  --set=role="$ROLE" --set=owner="${ROLE}_owner" --set=owner_password="$owner_password" --set=password="$password" <<'SQL'
create role :"owner" login password :'owner_password';
create role :"role" login noinherit password :'password';
create database :"role" owner :"owner";
revoke all on database :"role" from public;
grant connect on database :"role" to :"role";
SQL
if [ -n "${TAKES:-}" ]; then
  psql --username "$POSTGRES_USER" --set=ON_ERROR_STOP=1 --set=role="$ROLE" --set=takes="$TAKES" <<'SQL'
create role :"takes" nologin;
grant :"takes" to :"role";
SQL
fi
