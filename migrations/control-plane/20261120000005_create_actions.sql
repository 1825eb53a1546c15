-- Actions and all that happens to them until their outcome.
create table decisions (
    id uuid constraint decisions_pkey primary key,
    action_id uuid,
    principal text not null,
    effect text not null constraint decisions_effect_check check (effect in ('ALLOW', 'DENY')),
    policy_digest text not null,
    decided_at timestamptz not null,
    -- Canonical JSON of everything the decision was given and all it answered.
    body bytea not null,
    entry_id uuid not null constraint decisions_entry_id_fkey references audit.entries
);
create index decisions_action_id_idx on decisions (action_id) where action_id is not null;
create trigger decisions_refuse_change before update or delete on decisions
    for each row execute function audit.refuse_change();
create trigger decisions_refuse_truncate before truncate on decisions
    for each statement execute function audit.refuse_change();

create table actions (
    id uuid constraint actions_pkey primary key,
    type text not null,
    cluster text not null constraint actions_cluster_fkey references clusters,
    namespace text not null,
    kind text not null,
    name text not null,
    params jsonb not null,
    reason_id uuid constraint actions_reason_id_fkey references audit.texts,
    metadata jsonb not null,
    dry_run boolean not null,
    requested_by text not null,
    -- Roles of the requester when asking; the action is decided again with them.
    requester_roles text[] not null,
    -- W3C trace context of the request, passed on to the executor.
    traceparent text not null,
    state text not null constraint actions_state_check check (state in
        ('queued', 'running', 'unknown', 'succeeded', 'failed', 'denied', 'refused', 'cancelled', 'expired')),
    -- The newest decision.
    decision_id uuid not null constraint actions_decision_id_fkey references decisions,
    -- uid of the object the first decision saw; null when there was none to see.
    target_uid text,
    deadline_seconds integer not null,
    deadline_at timestamptz not null,
    -- {"code", "message", "steps", "receipt"} once the action has ended.
    outcome jsonb,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- The replica that drives the action to its end; another takes over when the time is past.
    driver uuid,
    driver_until timestamptz,
    constraint actions_outcome_check check
        ((outcome is not null) = (state not in ('queued', 'running', 'unknown')))
);
-- INVARIANT: at most one action per target may be writing.
create unique index actions_one_per_target_key on actions (cluster, namespace, kind, name)
    where state in ('running', 'unknown');
create index actions_queue_idx on actions (cluster, namespace, kind, name, id) where state = 'queued';
-- What was done to a target last.
create index actions_target_idx on actions (cluster, namespace, kind, name, updated_at);
create index actions_open_idx on actions (id) where state in ('queued', 'running', 'unknown');
create index actions_requested_by_idx on actions (requested_by, id);
create index actions_state_idx on actions (state, id);

-- What will be ordered. The newest intent of an action is the valid one; the others are superseded.
create table intents (
    number bigint generated always as identity constraint intents_pkey primary key,
    action_id uuid not null constraint intents_action_id_fkey references actions,
    attempt integer not null,
    entry_id uuid not null constraint intents_entry_id_fkey references audit.entries,
    decision_id uuid not null constraint intents_decision_id_fkey references decisions,
    policy_digest text not null,
    decided_at timestamptz not null,
    -- Canonical JSON of the order's preconditions.
    preconditions jsonb not null
);
create index intents_action_id_idx on intents (action_id, number desc);

-- Orders as signed: one attempt is one byte string, sent unchanged until its time is over.
create table attempts (
    action_id uuid not null constraint attempts_action_id_fkey references actions,
    attempt integer not null,
    intent_entry_id uuid not null constraint attempts_intent_entry_id_fkey references audit.entries,
    order_digest text not null constraint attempts_order_digest_key unique,
    envelope bytea not null,
    issued_at timestamptz not null,
    not_after timestamptz not null,
    -- The executor ledger known when it was signed, and its highest row: only that one can say that it
    -- never began, and only from a later row.
    ledger_id uuid,
    ledger_row bigint not null,
    -- Set by a receipt that says the attempt is in the ledger.
    accepted_at timestamptz,
    -- Set by a receipt that says it never began and never will.
    closed_at timestamptz,
    constraint attempts_pkey primary key (action_id, attempt)
);

-- The executor's answers as received, one of each stage for each attempt.
create table receipts (
    order_digest text not null,
    stage text not null,
    action_id uuid not null constraint receipts_action_id_fkey references actions,
    attempt integer not null,
    envelope bytea not null,
    received_at timestamptz not null,
    entry_id uuid not null constraint receipts_entry_id_fkey references audit.entries,
    constraint receipts_pkey primary key (action_id, attempt, stage)
);
create trigger receipts_refuse_change before update or delete on receipts
    for each row execute function audit.refuse_change();

create table idempotency_keys (
    principal text not null,
    key text not null,
    -- Digest of method, path, query without `wait`, and body.
    fingerprint text not null,
    action_id uuid not null constraint idempotency_keys_action_id_fkey references actions deferrable initially deferred,
    -- Status of the first answer: 202 or 403.
    status smallint not null,
    -- The decision named by the first answer.
    decision_id uuid not null,
    keep_until timestamptz not null,
    constraint idempotency_keys_pkey primary key (principal, key)
);
create index idempotency_keys_keep_until_idx on idempotency_keys (keep_until);

-- People who declared an action in state unknown to be unresolvable; the second one ends it.
create table closures (
    action_id uuid not null constraint closures_action_id_fkey references actions,
    principal text not null,
    requested_at timestamptz not null,
    constraint closures_pkey primary key (action_id, principal)
);

grant select, insert, update on actions, attempts to aegis_control_plane;
grant select, insert on decisions, intents, receipts, closures to aegis_control_plane;
grant select, insert, update, delete on idempotency_keys to aegis_control_plane;
