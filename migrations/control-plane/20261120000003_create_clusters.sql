-- The clusters, how their executors are reached, and the keys both sides sign with.
create table clusters (
    name text constraint clusters_pkey primary key,
    executor_url text not null,
    created_at timestamptz not null
);

create table cluster_order_keys (
    cluster text not null constraint cluster_order_keys_cluster_fkey references clusters,
    id text not null,
    -- Encrypted under the master key.
    sealed_secret bytea not null,
    created_at timestamptz not null,
    retired_at timestamptz,
    constraint cluster_order_keys_pkey primary key (cluster, id)
);

create table cluster_receipt_keys (
    cluster text not null constraint cluster_receipt_keys_cluster_fkey references clusters,
    id text not null,
    -- PEM of the Ed25519 public key (RFC 8410).
    public_key text not null,
    created_at timestamptz not null,
    retired_at timestamptz,
    constraint cluster_receipt_keys_pkey primary key (cluster, id)
);

-- The executor ledgers seen, and the highest row any of their receipts named.
create table ledgers (
    cluster text not null constraint ledgers_cluster_fkey references clusters,
    id uuid not null,
    row_seen bigint not null,
    first_seen_at timestamptz not null,
    -- Set when a receipt named a lower row than one seen before it was asked for: the ledger was
    -- restored from a backup and may have forgotten attempts.
    regressed_at timestamptz,
    constraint ledgers_pkey primary key (cluster, id)
);

grant select, insert, update on clusters, cluster_order_keys, cluster_receipt_keys, ledgers to aegis_control_plane;
