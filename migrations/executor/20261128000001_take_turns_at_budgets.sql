-- Which action may take pods down under a disruption budget at present. Actions that share a budget do so one after
-- another. A turn is its action's, not that of the process at work on it, and ends with the action's lease.
create table budget_turns (
    -- `metadata.uid` of the budget.
    budget_uid text constraint budget_turns_pkey primary key,
    action_id uuid not null
        constraint budget_turns_action_id_fkey references worker_leases (action_id) on delete cascade
);

create index budget_turns_action_id_idx on budget_turns (action_id);

grant select, insert on budget_turns to aegis_executor;
