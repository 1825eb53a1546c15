-- Keys that sign the log's checkpoints besides its first one, which is derived from the master key.
create table audit.log_keys (
    number integer generated always as identity constraint log_keys_pkey primary key,
    -- The log's name.
    origin text not null,
    -- The public key, as verifiers of signed notes take it.
    key text not null constraint log_keys_key_key unique,
    -- The private key's seed, encrypted under the master key.
    sealed_seed bytea not null,
    -- A note by which the newest key before vouches for it, signed by both.
    endorsement text not null,
    -- The entry that says so.
    entry_id uuid not null
);

-- Keys that sign no more.
create table audit.retired_log_keys (
    key text constraint retired_log_keys_pkey primary key,
    origin text not null,
    entry_id uuid not null
);

create trigger log_keys_refuse_change before update or delete or truncate on audit.log_keys
    for each statement execute function audit.refuse_change();
create trigger retired_log_keys_refuse_change before update or delete or truncate on audit.retired_log_keys
    for each statement execute function audit.refuse_change();
grant select, insert on audit.log_keys, audit.retired_log_keys to aegis_control_plane;
