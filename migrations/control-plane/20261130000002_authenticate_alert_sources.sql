-- Whatever sends alerts: it proves itself by a secret in each request, since alert managers cannot sign.
create table alert_sources (
    name text constraint alert_sources_pkey primary key,
    created_at timestamptz not null,
    -- Since when its requests are refused; null while they are not.
    disabled_at timestamptz
);

-- What an alert source proves itself with. The secrets are random and long: SHA-256 keeps them as well as a slow hash.
create table alert_source_credentials (
    id uuid constraint alert_source_credentials_pkey primary key,
    alert_source text not null
        constraint alert_source_credentials_alert_source_fkey references alert_sources on delete cascade,
    kind text not null constraint alert_source_credentials_kind_check check (kind in ('bearer', 'basic')),
    hash bytea not null constraint alert_source_credentials_hash_key unique,
    created_at timestamptz not null,
    -- Noted once a minute.
    last_used_at timestamptz,
    revoked_at timestamptz
);
create index alert_source_credentials_alert_source_idx on alert_source_credentials (alert_source);

grant select, insert, update, delete on alert_sources, alert_source_credentials to aegis_control_plane;
