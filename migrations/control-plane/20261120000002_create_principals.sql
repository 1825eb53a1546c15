-- Who may ask: people with a password and roles, automation with keys.
create table users (
    id uuid constraint users_pkey primary key,
    email text not null,
    password_hash text not null,
    disabled_at timestamptz,
    created_at timestamptz not null
);
create unique index users_email_key on users (lower(email));

create table user_roles (
    user_id uuid not null constraint user_roles_user_id_fkey references users,
    role text not null,
    constraint user_roles_pkey primary key (user_id, role)
);

create table clients (
    id uuid constraint clients_pkey primary key,
    name text not null constraint clients_name_key unique,
    owner_id uuid not null constraint clients_owner_id_fkey references users,
    created_at timestamptz not null
);

create table client_keys (
    id text constraint client_keys_pkey primary key,
    client_id uuid not null constraint client_keys_client_id_fkey references clients,
    algorithm text not null constraint client_keys_algorithm_check check (algorithm in ('hmac-sha256', 'ed25519')),
    -- Secret of hmac-sha256 or public key of ed25519, encrypted under the master key.
    sealed_key bytea not null,
    created_at timestamptz not null,
    revoked_at timestamptz
);
create index client_keys_client_id_idx on client_keys (client_id);

-- Nonces of signed requests that recorded something; kept until they could not be used anyway.
create table nonces (
    key_id text not null,
    nonce text not null,
    keep_until timestamptz not null,
    constraint nonces_pkey primary key (key_id, nonce)
);
create index nonces_keep_until_idx on nonces (keep_until);

-- What already has an audit entry in a minute: refused authentication, failed sign-ins, readings of
-- the log. Repeats are only counted in metrics.
create table refusals (
    reason text not null,
    -- The key or person concerned. Empty when there is none of that name, so that invented names
    -- cannot fill the table.
    key_id text not null,
    minute timestamptz not null,
    constraint refusals_pkey primary key (reason, key_id, minute)
);

grant select, insert, update on users, clients, client_keys to aegis_control_plane;
grant select, insert, delete on user_roles, nonces, refusals to aegis_control_plane;
