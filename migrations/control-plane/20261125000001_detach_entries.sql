-- The oldest entries leave the database once somebody keeps them elsewhere. Hashes and checkpoints stay, so that
-- whatever was proven can be proven again.

-- Entries of detached partitions that something here still rests on.
create table audit.kept (like audit.entries including all);
create trigger kept_refuse_change before update or delete or truncate on audit.kept
    for each statement execute function audit.refuse_change();

create or replace view audit.recorded as
    select index, id, kind, at, principal, action_id, request_id, body from audit.entries
    union all
    select index, id, kind, at, principal, action_id, request_id, body from audit.kept
    union all
    select null, id, kind, at, principal, action_id, request_id, body from audit.pending;

-- Where the partitions begin, oldest first. The newest is the one that is being filled.
create function audit.partitions() returns setof bigint
language sql stable set search_path = pg_catalog as $$
    select substring(c.relname from '^entries_from_([0-9]+)$')::bigint
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'audit.entries'::regclass order by 1;
$$;

-- Takes the partition that begins at `first` out of the log's table, as a table of its own that its owner may drop.
-- What a policy version, an approval, an open action or a waiting notification rests on stays. Only the owner may.
create function audit.detach_partition(first bigint, out name text, out kept bigint)
language plpgsql
-- What reads the log meanwhile has short statements; it must not wait long behind this one either.
set search_path = pg_catalog set lock_timeout = '1s' set enable_seqscan = off set jit = off as $$
begin
    name := format('audit.entries_from_%s', first);
    execute format('alter table audit.entries detach partition %s', name);
    execute format($kept$
        insert into audit.kept (index, id, kind, at, principal, action_id, request_id, body)
            select e.index, e.id, e.kind, e.at, e.principal, e.action_id, e.request_id, e.body
            from %s e
            where e.id in (
                select entry_id from public.policy_versions
                union all select entry_id from public.approval_requests
                union all select entry_id from public.approvals
                union all select entry_id from public.webhook_deliveries where state = 'waiting')
                or e.action_id in (select id from public.actions where outcome is null)
        $kept$, name);
    get diagnostics kept = row_count;
end
$$;

revoke execute on function audit.partitions, audit.detach_partition from public;
