-- Heads that executors hold and that are not of this log's history: it was put back or rewritten behind their backs.
-- While there is one of the present log nothing is changed any more.
create table audit.forks (
    number bigint generated always as identity constraint forks_pkey primary key,
    -- The log's name; the next log has another.
    origin text not null,
    cluster text not null,
    -- The head that the cluster's executor holds; absent where it only said that there are two.
    held_size bigint,
    held_root bytea,
    -- The newest checkpoint here at that time.
    note text,
    found_at timestamptz not null default clock_timestamp()
);
create trigger forks_refuse_change before update or delete or truncate on audit.forks
    for each statement execute function audit.refuse_change();
grant select, insert on audit.forks to aegis_control_plane;
