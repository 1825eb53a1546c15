-- A ledger that was put back from a backup may have forgotten attempts, so it must not go on under its
-- name. Where it stands tells: on which server, on which timeline of it, in which database and table.
-- Restoring a dump makes another table, a promotion or a recovery to a point in time another timeline.
create function ledger.place() returns text
language plpgsql stable as $$
begin
    return (
        select concat_ws('/', system.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8), here.oid,
                         to_regclass('ledger.rows')::oid)
        from pg_control_system() as system, pg_database as here
        where here.datname = current_database()
    );
end
$$;

-- The names the ledger has had, each at its place. The newest holds, as long as the ledger stands there.
create table ledger.identities (
    number bigint generated always as identity constraint identities_pkey primary key,
    ledger_id uuid not null constraint identities_ledger_id_key unique,
    place text not null,
    named_at timestamptz not null default now()
);

-- The ledger's id; null when it has none here yet.
create function ledger.current_id() returns uuid
language plpgsql stable as $$
begin
    return (
        select newest.ledger_id
        from (select ledger_id, place from ledger.identities order by number desc limit 1) as newest
        where newest.place = ledger.place()
    );
end
$$;

-- With an open action the ledger is named anew: an order of the earlier contract can be read no more.
insert into ledger.identities (ledger_id, place, named_at)
    select ledger_id, ledger.place(), created_at from ledger.identity
    where not exists (
        select from ledger.rows open where open.kind = 'accepted' and not exists (
            select from ledger.rows ended where ended.action_id = open.action_id and ended.kind = 'finished'
        )
    );
drop table ledger.identity;

create trigger identities_refuse_change before update or delete on ledger.identities
    for each row execute function ledger.refuse_change();
create trigger identities_refuse_truncate before truncate on ledger.identities
    for each statement execute function ledger.refuse_change();

grant select, insert on ledger.identities to aegis_executor;
