-- The heads of the audit log that were verified, each from the one before: two that were verified from the same
-- one, by two replicas at once, cannot both be kept, so that all that are kept belong to one history.
create table ledger.heads (
    -- The log's name; after a log has been given up, that of the next one.
    origin text not null,
    size bigint not null constraint heads_size_check check (size >= 0),
    root bytea not null constraint heads_root_check check (length(root) = 32),
    -- Absent only for the first one, which comes from configuration.
    previous_size bigint constraint heads_previous_size_check check (previous_size < size),
    -- The signed checkpoint; absent for the log without entries, and for a configured head.
    note text,
    kept_at timestamptz not null default now(),
    constraint heads_pkey primary key (origin, size),
    constraint heads_previous_size_key unique nulls not distinct (origin, previous_size)
);

-- Histories that contradict each other. While there is one of a log nothing is begun on its word.
create table ledger.forks (
    number bigint generated always as identity constraint forks_pkey primary key,
    origin text not null,
    kept_size bigint not null,
    kept_root bytea not null,
    kept_note text,
    presented_note text not null,
    found_at timestamptz not null default now()
);

create trigger heads_refuse_change before update or delete on ledger.heads
    for each row execute function ledger.refuse_change();
create trigger heads_refuse_truncate before truncate on ledger.heads
    for each statement execute function ledger.refuse_change();
create trigger forks_refuse_change before update or delete on ledger.forks
    for each row execute function ledger.refuse_change();
create trigger forks_refuse_truncate before truncate on ledger.forks
    for each statement execute function ledger.refuse_change();

grant select, insert on ledger.heads, ledger.forks to aegis_executor;
