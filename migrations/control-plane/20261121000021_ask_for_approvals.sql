-- Actions that people must agree to first.
alter table actions
    drop constraint actions_state_check,
    drop constraint actions_outcome_check,
    -- When enough people had agreed; the action is decided again then. Null while somebody is missing.
    add column approved_at timestamptz,
    add constraint actions_state_check check (state in
        ('awaiting-approval', 'queued', 'running', 'unknown', 'succeeded', 'failed', 'denied', 'refused',
         'cancelled', 'expired')),
    add constraint actions_outcome_check check
        ((outcome is not null) = (state not in ('awaiting-approval', 'queued', 'running', 'unknown')));
drop index actions_open_idx;
create index actions_open_idx on actions (id) where state in ('awaiting-approval', 'queued', 'running', 'unknown');

-- What people were asked to agree to. The newest round of an action is the valid one; the others are void.
create table approval_requests (
    action_id uuid not null constraint approval_requests_action_id_fkey references actions,
    round integer not null,
    -- Canonical JSON: the bytes of the digest that approvals are bound to.
    body bytea not null,
    -- The roles of its groups.
    roles text[] not null,
    asked_at timestamptz not null,
    -- The audit entry that holds the same digest.
    entry_id uuid not null constraint approval_requests_entry_id_fkey references audit.entries
        constraint approval_requests_entry_id_key unique,
    constraint approval_requests_pkey primary key (action_id, round)
);
create trigger approval_requests_refuse_change before update or delete on approval_requests
    for each row execute function audit.refuse_change();

-- What people answered. The newest answer of a person in a round is the valid one.
create table approvals (
    number bigint generated always as identity constraint approvals_pkey primary key,
    action_id uuid not null,
    round integer not null,
    principal text not null,
    answer text not null constraint approvals_answer_check check (answer in ('given', 'withdrawn', 'denied')),
    reason_id uuid constraint approvals_reason_id_fkey references audit.texts,
    at timestamptz not null,
    -- The audit entry that holds the digest of what was answered.
    entry_id uuid not null constraint approvals_entry_id_fkey references audit.entries
        constraint approvals_entry_id_key unique,
    constraint approvals_request_fkey foreign key (action_id, round) references approval_requests
);
create index approvals_action_id_idx on approvals (action_id, round, number);
create trigger approvals_refuse_change before update or delete on approvals
    for each row execute function audit.refuse_change();

grant select, insert on approval_requests, approvals to aegis_control_plane;
