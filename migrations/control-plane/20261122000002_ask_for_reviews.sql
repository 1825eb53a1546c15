-- Actions that somebody must look at afterwards, because nothing but a break-glass rule allowed them.
create table reviews (
    action_id uuid not null constraint reviews_action_id_fkey references actions,
    -- The role whose people are asked.
    role text not null,
    asked_at timestamptz not null,
    due_at timestamptz not null,
    -- The audit entry that asks.
    entry_id uuid not null constraint reviews_entry_id_fkey references audit.entries,
    -- Who looked at it, when, and the entry that says so; null while nobody has.
    closed_by text,
    closed_at timestamptz,
    closing_entry_id uuid constraint reviews_closing_entry_id_fkey references audit.entries,
    constraint reviews_pkey primary key (action_id, role),
    constraint reviews_closed_check check (num_nulls(closed_by, closed_at, closing_entry_id) in (0, 3))
);
create index reviews_open_idx on reviews (action_id, role) where closed_at is null;

grant select, insert, update on reviews to aegis_control_plane;
