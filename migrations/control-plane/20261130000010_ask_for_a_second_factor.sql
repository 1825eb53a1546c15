-- What people prove who they are with besides a password: a secret from which an app of theirs computes codes (RFC 6238).
create table second_factors (
    user_id uuid constraint second_factors_pkey primary key
        constraint second_factors_user_id_fkey references users,
    -- Whose it is, and the secret, under the root key.
    sealed_secret bytea not null,
    -- Since when it counts: a first code has shown that the app has it. Null before.
    confirmed_at timestamptz,
    -- The last 30 seconds, counted since 1970, of which a code was used. Those of earlier ones are good no more.
    last_step bigint not null default 0
);

-- What stands in for a lost app: keyed hashes of codes. Each is gone once it was used.
create table recovery_codes (
    user_id uuid not null constraint recovery_codes_user_id_fkey references second_factors on delete cascade,
    hash text not null,
    constraint recovery_codes_pkey primary key (user_id, hash)
);

-- When the person last showed their second factor in the session; null while they have not.
alter table sessions add column stepped_up_at timestamptz;

grant select, insert, update, delete on second_factors, recovery_codes to aegis_control_plane;
