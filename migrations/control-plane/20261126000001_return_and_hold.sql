-- Changes that turned out bad and were put back. For breakers they are failures of our own.
alter table actions
    drop constraint actions_state_check,
    -- What the executor has done so far, as it last said: to look at, and no evidence.
    add column progress jsonb,
    add constraint actions_state_check check (state in
        ('awaiting-approval', 'queued', 'running', 'unknown', 'succeeded', 'failed', 'returned', 'denied', 'refused',
         'cancelled', 'expired'));
drop index actions_failed_idx;
create index actions_failed_idx on actions (updated_at) where state in ('failed', 'returned') and reserved_at is not null;

-- Targets that automation leaves alone, each since an action on it was put back, until a person lifts that.
create table holds (
    action_id uuid constraint holds_pkey primary key constraint holds_action_id_fkey references actions,
    cluster text not null,
    namespace text not null,
    kind text not null,
    name text not null,
    held_at timestamptz not null,
    -- Who lifted it, and when; null while it holds.
    lifted_by text,
    lifted_at timestamptz,
    constraint holds_lifted_check check (num_nulls(lifted_by, lifted_at) in (0, 2))
);
create index holds_target_idx on holds (cluster, namespace, kind, name) where lifted_at is null;
create index holds_open_idx on holds (action_id) where lifted_at is null;

grant select, insert, update on holds to aegis_control_plane;
