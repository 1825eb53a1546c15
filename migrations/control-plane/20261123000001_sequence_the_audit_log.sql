-- The audit log gets one order. Business transactions add to `audit.pending`; one sequencer moves what is committed
-- to `audit.entries`, and stores in the same transaction what proves it.

-- What is not in the log's order yet. Nothing stays for longer than it takes to sign a checkpoint.
create table audit.pending (
    id uuid constraint pending_pkey primary key,
    kind text not null,
    at timestamptz not null,
    principal text not null,
    action_id uuid,
    request_id text,
    -- Canonical JSON (RFC 8785); the columns above repeat parts of it for filters.
    body bytea not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
create index pending_action_id_idx on audit.pending (action_id) where action_id is not null;
insert into audit.pending (id, kind, at, principal, action_id, request_id, body)
    select id, kind, at, principal, action_id, request_id, body from audit.entries;

-- Every action has one outcome, whoever reports it and however often.
create table audit.outcomes (
    action_id uuid constraint outcomes_pkey primary key,
    entry_id uuid not null
);
insert into audit.outcomes (action_id, entry_id)
    select action_id, id from audit.entries where kind = 'action.ended';

-- Whoever names an entry looks whether it is there and says the same when it counts: no foreign key could follow an
-- entry to its place in the log, and out of it when its partition is taken away.
alter table policy_versions drop constraint policy_versions_entry_id_fkey;
alter table decisions drop constraint decisions_entry_id_fkey;
alter table intents drop constraint intents_entry_id_fkey;
alter table attempts drop constraint attempts_intent_entry_id_fkey;
alter table receipts drop constraint receipts_entry_id_fkey;
alter table webhook_deliveries drop constraint webhook_deliveries_entry_id_fkey;
alter table approval_requests drop constraint approval_requests_entry_id_fkey;
alter table approvals drop constraint approvals_entry_id_fkey;
alter table reviews drop constraint reviews_entry_id_fkey, drop constraint reviews_closing_entry_id_fkey;
drop table audit.entries;

-- The log: a row for each leaf of its tree, without gap.
create table audit.entries (
    index bigint not null constraint entries_index_check check (index >= 0),
    id uuid not null,
    kind text not null,
    at timestamptz not null,
    principal text not null,
    action_id uuid,
    request_id text,
    -- The bytes of the leaf.
    body bytea not null,
    constraint entries_pkey primary key (index)
) partition by range (index);
create index entries_id_idx on audit.entries (id);
create index entries_kind_idx on audit.entries (kind, id);
create index entries_principal_idx on audit.entries (principal, id);
create index entries_action_id_idx on audit.entries (action_id, id) where action_id is not null;
create index entries_at_idx on audit.entries (at, id);

-- The tree's hashes as C2SP tlog-tiles has them. A row is what one batch added to one tile.
create table audit.tiles (
    level smallint not null,
    index bigint not null,
    -- Hashes that the tile had before, and those added, 32 bytes each.
    start smallint not null,
    hashes bytea not null,
    constraint tiles_pkey primary key (level, index, start)
);

-- The log's heads as signed, one for each batch (C2SP tlog-checkpoint).
create table audit.checkpoints (
    size bigint constraint checkpoints_pkey primary key,
    -- The sequencer that signed it.
    epoch bigint not null,
    at timestamptz not null default clock_timestamp(),
    note text not null
);

-- One row: how many entries there are, and whose turn it is to add some.
create table audit.sequencer (
    one boolean constraint sequencer_pkey primary key default true constraint sequencer_one_check check (one),
    epoch bigint not null default 0,
    size bigint not null default 0
);
insert into audit.sequencer default values;

-- Every entry, wherever it stands; `index` is null until it has its place.
create view audit.recorded as
    select index, id, kind, at, principal, action_id, request_id, body from audit.entries
    union all
    select null, id, kind, at, principal, action_id, request_id, body from audit.pending;

-- What the sequencer adds next, and the hash it has then (RFC 6962, section 2.1).
create view audit.waiting as
    select id, sha256('\x00'::bytea || body) as leaf from audit.pending;

create function audit.refuse_loss() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
    if exists (select from gone where not exists (
        select from audit.entries e
        where e.index >= (select size from audit.sequencer where one) and e.id = gone.id and e.body = gone.body))
    then
        raise exception 'an entry leaves audit.pending only for its place in audit.entries'
            using errcode = 'insufficient_privilege';
    end if;
    return null;
end
$$;

create function audit.note_outcome() returns trigger
language plpgsql security definer set search_path = pg_catalog as $$
begin
    insert into audit.outcomes (action_id, entry_id) values (new.action_id, new.id);
    return null;
end
$$;

-- Makes the partition of the entry `index`. It is attached because that, unlike making it in its place, lets readers go on.
create function audit.make_partition(index bigint) returns void
language plpgsql set search_path = pg_catalog as $$
declare
    width constant bigint := 1048576;
    start constant bigint := index / width * width;
    name constant text := format('entries_from_%s', start);
begin
    if to_regclass('audit.' || name) is not null then
        return;
    end if;
    execute format('create table audit.%I (like audit.entries including all)', name);
    execute format('alter table audit.entries attach partition audit.%I for values from (%s) to (%s)',
        name, start, start + width);
    execute format('create trigger entries_refuse_truncate before truncate on audit.%I
        for each statement execute function audit.refuse_change()', name);
end
$$;

-- A new sequencer's turn: from here on no earlier one adds anything.
create function audit.begin_epoch(out epoch bigint, out size bigint)
language sql security definer set search_path = pg_catalog as $$
    update audit.sequencer s set epoch = s.epoch + 1 returning s.epoch, s.size;
$$;

-- Moves pending entries to their places from `first` on, with what the tree gains by them and its signed head.
create function audit.integrate(
    by_epoch bigint, first bigint, ids uuid[], leaves bytea[],
    tile_levels smallint[], tile_indexes bigint[], tile_starts smallint[], tile_hashes bytea[], note text)
returns bigint
language plpgsql security definer
-- The tables grow and shrink faster than anybody counts their rows, and what takes a millisecond is not compiled.
set search_path = pg_catalog set enable_seqscan = off set jit = off as $$
declare
    new_size constant bigint := first + cardinality(ids);
    moved bigint;
begin
    perform from audit.sequencer s where s.one and s.epoch = by_epoch and s.size = first for update;
    if not found then
        raise exception 'epoch % may not add entry %: it is over, or the log has another size', by_epoch, first;
    end if;
    perform audit.make_partition(first);
    perform audit.make_partition(new_size - 1);
    insert into audit.entries (index, id, kind, at, principal, action_id, request_id, body)
        select first + batch.place - 1, p.id, p.kind, p.at, p.principal, p.action_id, p.request_id, p.body
        from unnest(ids, leaves) with ordinality as batch (id, leaf, place)
            join audit.pending p on p.id = batch.id and sha256('\x00'::bytea || p.body) = batch.leaf;
    get diagnostics moved = row_count;
    if moved <> cardinality(ids) then
        raise exception 'an entry is gone, or is not as it was hashed';
    end if;
    delete from audit.pending p where p.id = any (ids);
    insert into audit.tiles (level, index, start, hashes)
        select * from unnest(tile_levels, tile_indexes, tile_starts, tile_hashes);
    insert into audit.checkpoints (size, epoch, note) values (new_size, by_epoch, note);
    update audit.sequencer s set size = new_size where s.one;
    return new_size;
end
$$;

create trigger pending_note_outcome after insert on audit.pending
    for each row when (new.kind = 'action.ended') execute function audit.note_outcome();
create trigger pending_refuse_loss after delete on audit.pending referencing old table as gone
    for each statement execute function audit.refuse_loss();
create trigger pending_refuse_change before update or truncate on audit.pending
    for each statement execute function audit.refuse_change();
create trigger entries_refuse_change before update or delete on audit.entries
    for each row execute function audit.refuse_change();
create trigger entries_refuse_truncate before truncate on audit.entries
    for each statement execute function audit.refuse_change();
create trigger outcomes_refuse_change before update or delete or truncate on audit.outcomes
    for each statement execute function audit.refuse_change();
create trigger tiles_refuse_change before update or delete or truncate on audit.tiles
    for each statement execute function audit.refuse_change();
create trigger checkpoints_refuse_change before update or delete or truncate on audit.checkpoints
    for each statement execute function audit.refuse_change();

-- The leaf of an intent's entry, encrypted under the master key by whoever wrote it: what is ordered is what was
-- decided, whatever the database says meanwhile. Intents from before are decided again.
alter table intents
    add column sealed_leaf bytea,
    -- From here on it has two seconds to come into the log.
    add column written_at timestamptz not null default clock_timestamp();

select audit.make_partition(0);
revoke execute on all functions in schema audit from public;
grant execute on function audit.begin_epoch, audit.integrate to aegis_control_plane;
grant insert on audit.pending to aegis_control_plane;
grant select on audit.recorded, audit.waiting, audit.tiles, audit.checkpoints to aegis_control_plane;
