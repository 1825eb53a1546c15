-- The audit log: entries are kept as the bytes that were hashed, and only ever added.
create schema audit;

create table audit.entries (
    id uuid constraint entries_pkey primary key,
    kind text not null,
    at timestamptz not null,
    principal text not null,
    action_id uuid,
    request_id text,
    -- Canonical JSON (RFC 8785); the columns above repeat parts of it for filters.
    body bytea not null
);

create index entries_kind_idx on audit.entries (kind, id);
create index entries_principal_idx on audit.entries (principal, id);
create index entries_action_id_idx on audit.entries (action_id, id) where action_id is not null;
create index entries_at_idx on audit.entries (at, id);
-- Every action has one outcome, whoever reports it and however often.
create unique index entries_one_outcome_key on audit.entries (action_id) where kind = 'action.ended';

-- Free text from people. An entry holds only its keyed hash, so that a text can be erased and the
-- entry still be proven.
create table audit.texts (
    id uuid constraint texts_pkey primary key,
    body text not null
);

create function audit.refuse_change() returns trigger
language plpgsql as $$
begin
    raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'insufficient_privilege';
end
$$;

create trigger entries_refuse_change before update or delete on audit.entries
    for each row execute function audit.refuse_change();
create trigger entries_refuse_truncate before truncate on audit.entries
    for each statement execute function audit.refuse_change();

grant usage on schema audit to aegis_control_plane;
grant select, insert on audit.entries, audit.texts to aegis_control_plane;
