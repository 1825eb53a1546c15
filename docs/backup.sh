#!/usr/bin/env bash
# Backs both databases up into the folder $1, with nothing but PostgreSQL's own tools. Nothing has to be stopped.
# Needs CONTROL_PLANE_OWNER_URL and EXECUTOR_OWNER_URL; passwords belong into PGPASSFILE.
set -euo pipefail
folder=$1
umask 077
mkdir -p "$folder"
# The ledger comes last: an executor that knows more than the control plane is safe, one that knows less is not.
pg_dump --format=custom --dbname="$CONTROL_PLANE_OWNER_URL" --file="$folder/control-plane.dump"
pg_dump --format=custom --dbname="$EXECUTOR_OWNER_URL" --file="$folder/executor.dump"
