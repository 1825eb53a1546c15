#!/usr/bin/env bash
# Restores both databases from the folder $1 into empty ones, while no control plane and no executor runs.
# Needs CONTROL_PLANE_OWNER_URL and EXECUTOR_OWNER_URL of the new databases; passwords belong into PGPASSFILE.
# The roles of compose/create-database.sh must exist: the databases' grants name them.
set -euo pipefail
folder=$1
restore() { pg_restore --exit-on-error --single-transaction --no-owner --dbname="$1" "$2"; }
restore "$CONTROL_PLANE_OWNER_URL" "$folder/control-plane.dump"
restore "$EXECUTOR_OWNER_URL" "$folder/executor.dump"
