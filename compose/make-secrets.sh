#!/bin/sh
# Makes every secret that compose.yaml names, in the folder compose/secrets. Nothing that is there is made anew.
# The kubeconfig is not a secret of ours: see k8s/README.md for one with the executor's rights.
set -eu
folder=${1:-$(dirname "$0")/secrets}
# The folder keeps others out: the files themselves must be readable to the containers' user.
mkdir -p "$folder"
chmod 700 "$folder"

make() { # make NAME COMMAND…: the command's output becomes the secret
  name=$1
  shift
  [ -e "$folder/$name" ] || "$@" > "$folder/$name"
}
password() { openssl rand -hex 24; }
key() { openssl rand -base64 32; }
url() { # url ROLE HOST DATABASE PASSWORD-FILE
  printf 'postgres://%s:%s@%s/%s\n' "$1" "$(cat "$folder/$4")" "$2" "$3"
}

redis_conf() {
  printf 'requirepass %s\nsave ""\nmaxmemory 64mb\nmaxmemory-policy noeviction\n' "$(password)"
}
redis_url() { printf 'redis://:%s@redis:6379\n' "$(sed -n 's/^requirepass //p' "$folder/redis-conf")"; }

for service in control-plane executor; do
  role=aegis_$(echo $service | tr - _)
  make "$service-postgres-password" password
  make "$service-owner-password" password
  make "$service-password" password
  make "$service-owner-url" url "${role}_owner" "$service-database" "$role" "$service-owner-password"
  make "$service-url" url "$role" "$service-database" "$role" "$service-password"
done
make master-key key
make jwt-secret key
make redis-conf redis_conf
make redis-url redis_url
make order-key key
make receipt-key openssl genpkey -algorithm ed25519
make receipt-key.pub openssl pkey -in "$folder/receipt-key" -pubout
