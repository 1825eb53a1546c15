-- Receivers outside that are told what happened, and what they were told.
create table webhooks (
    name text constraint webhooks_pkey primary key,
    url text not null,
    -- Kinds of entries to tell of, and the requesters whose actions they are about. Empty: all.
    events text[] not null,
    requested_by text[] not null,
    -- What deliveries are signed with, encrypted under the master key.
    sealed_secret bytea not null,
    -- The secret before it, which goes on signing until then.
    sealed_previous_secret bytea,
    previous_secret_until timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint webhooks_previous_secret_check
        check ((sealed_previous_secret is null) = (previous_secret_until is null))
);

-- The outbox: a row is inserted in the transaction of the entry it tells of.
create table webhook_deliveries (
    webhook text not null constraint webhook_deliveries_webhook_fkey references webhooks on delete cascade,
    -- Also what receivers know it by, however often it is sent.
    entry_id uuid not null constraint webhook_deliveries_entry_id_fkey references audit.entries,
    state text not null default 'waiting'
        constraint webhook_deliveries_state_check check (state in ('waiting', 'delivered', 'dead')),
    -- Attempts ever begun, and those since it was last asked for.
    attempts integer not null default 0,
    tries integer not null default 0,
    -- When to send it. While a replica is sending it: when another one may.
    due_at timestamptz not null default clock_timestamp(),
    created_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz,
    constraint webhook_deliveries_pkey primary key (webhook, entry_id),
    constraint webhook_deliveries_ended_at_check check ((ended_at is null) = (state = 'waiting'))
);
create index webhook_deliveries_due_idx on webhook_deliveries (webhook, due_at) where state = 'waiting';
create index webhook_deliveries_ended_at_idx on webhook_deliveries (ended_at) where state <> 'waiting';

-- What came of each attempt.
create table webhook_attempts (
    webhook text not null,
    entry_id uuid not null,
    number integer not null,
    at timestamptz not null,
    latency_milliseconds integer not null,
    -- The HTTP status; null when there was no answer.
    status smallint,
    -- Why it counts as failed; null when it does not.
    error text,
    constraint webhook_attempts_pkey primary key (webhook, entry_id, number),
    constraint webhook_attempts_delivery_fkey foreign key (webhook, entry_id)
        references webhook_deliveries on delete cascade
);

grant select, insert, update, delete on webhooks, webhook_deliveries to aegis_control_plane;
grant select, insert on webhook_attempts to aegis_control_plane;
