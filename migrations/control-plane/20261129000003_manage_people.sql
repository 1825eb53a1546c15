-- Who was invited has no password before they choose one.
alter table users alter column password_hash drop not null;

-- What somebody who has none chooses their first password with, as SHA-256. Inviting again replaces it.
create table invitations (
    user_id uuid constraint invitations_pkey primary key constraint invitations_user_id_fkey references users,
    hash bytea not null constraint invitations_hash_key unique,
    expires_at timestamptz not null
);

-- Somebody must be left who can give others back what they need. The lock lets no two changes overlook each other: the
-- second counts what the first has committed.
create function keep_an_admin() returns trigger language plpgsql set search_path = public, pg_temp as $$ begin
    perform pg_advisory_xact_lock(8316, 1);
    if not exists (
        select from user_roles join users on id = user_id
        where role = 'admin' and disabled_at is null and password_hash is not null
    ) then
        raise exception 'nobody would be an admin any more'
            using errcode = 'check_violation', constraint = 'users_last_admin';
    end if;
    return null;
end $$;
create trigger users_keep_an_admin after update of disabled_at on users for each row
    when (old.disabled_at is null and new.disabled_at is not null) execute function keep_an_admin();
create trigger user_roles_keep_an_admin after delete on user_roles for each row
    when (old.role = 'admin') execute function keep_an_admin();

-- Roles that somebody was asked to be given, and that others must agree to first. What was asked, and who agreed, counts
-- only as the entries say it.
create table role_grants (
    id uuid constraint role_grants_pkey primary key,
    user_id uuid not null constraint role_grants_user_id_fkey references users,
    role text not null,
    requested_by uuid not null constraint role_grants_requested_by_fkey references users,
    -- Who had to agree when it was last decided: to look at.
    groups jsonb not null,
    state text not null constraint role_grants_state_check check (state in ('waiting', 'granted', 'denied')),
    asked_at timestamptz not null,
    -- Afterwards nobody can agree any more.
    expires_at timestamptz not null,
    -- The audit entry that asks.
    entry_id uuid not null
);
create index role_grants_waiting_idx on role_grants (id) where state = 'waiting';
create index role_grants_person_idx on role_grants (user_id, role) where state = 'waiting';

create table role_grant_approvals (
    grant_id uuid not null constraint role_grant_approvals_grant_id_fkey references role_grants,
    user_id uuid not null constraint role_grant_approvals_user_id_fkey references users,
    -- The audit entry that says so.
    entry_id uuid not null,
    constraint role_grant_approvals_pkey primary key (grant_id, user_id)
);

grant select, insert, update, delete on invitations to aegis_control_plane;
grant select, insert, update on role_grants to aegis_control_plane;
grant select, insert on role_grant_approvals to aegis_control_plane;

-- As before, and what a waiting grant rests on stays too.
create or replace function audit.detach_partition(first bigint, out name text, out kept bigint)
language plpgsql
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
                union all select entry_id from public.role_grants where state = 'waiting'
                union all select a.entry_id from public.role_grant_approvals a
                    join public.role_grants g on g.id = a.grant_id where g.state = 'waiting'
                union all select entry_id from public.webhook_deliveries where state = 'waiting')
                or e.action_id in (select id from public.actions where outcome is null)
        $kept$, name);
    get diagnostics kept = row_count;
end
$$;
