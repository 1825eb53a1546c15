-- Who carries out an accepted action at present. Outside the ledger, because it changes; the fence
-- rises with every holder and stands in every ledger row that holder writes.
create table worker_leases (
    action_id uuid constraint worker_leases_pkey primary key,
    owner_id uuid not null,
    fence bigint not null constraint worker_leases_fence_check check (fence >= 1),
    expires_at timestamptz not null
);

create index worker_leases_expires_at_idx on worker_leases (expires_at);

grant select, insert, update, delete on worker_leases to aegis_executor;
