-- The ledger: what this cluster's executor accepted, began, ended and closed. Rows are only ever added.
create schema ledger;

-- Names the ledger. The executor writes it at its first start, so that a copied database template
-- does not become two ledgers of one name.
create table ledger.identity (
    singleton boolean constraint identity_pkey primary key default true,
    ledger_id uuid not null,
    created_at timestamptz not null default now(),
    constraint identity_singleton_check check (singleton)
);

create table ledger.rows (
    row_number bigint generated always as identity constraint rows_pkey primary key,
    kind text not null constraint rows_kind_check check (kind in ('accepted', 'acting', 'finished', 'closed')),
    action_id uuid not null,
    attempt integer not null constraint rows_attempt_check check (attempt >= 1),
    -- Digest of the order's payload; absent where an attempt was closed before its order ever came.
    order_digest text,
    -- Of acting orders, so that another order cannot use it again.
    nonce text,
    -- The lease under which the row was written; 0 for rows that need none.
    fence bigint not null,
    at timestamptz not null,
    -- Of `accepted`: the order's payload exactly as it was signed.
    order_bytes bytea,
    -- Of `acting`: uid, generation, and the fields before and after. Never a template: it may carry secrets.
    body jsonb,
    -- Of `finished`, and of `closed` by a refusal: the signed receipt as it is answered.
    receipt bytea,
    constraint rows_accepted_check
        check (kind <> 'accepted' or (order_digest is not null and nonce is not null and order_bytes is not null)),
    constraint rows_acting_check check (kind <> 'acting' or body is not null),
    constraint rows_finished_check check (kind <> 'finished' or receipt is not null)
);

-- An attempt is accepted or closed, never both and never twice.
create unique index rows_attempt_key on ledger.rows (action_id, attempt) where kind in ('accepted', 'closed');
create unique index rows_accepted_key on ledger.rows (action_id) where kind = 'accepted';
create unique index rows_acting_key on ledger.rows (action_id) where kind = 'acting';
create unique index rows_finished_key on ledger.rows (action_id) where kind = 'finished';
create unique index rows_nonce_key on ledger.rows (nonce) where nonce is not null;

create function ledger.refuse_change() returns trigger
language plpgsql as $$
begin
    raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'insufficient_privilege';
end
$$;

create trigger identity_refuse_change before update or delete on ledger.identity
    for each row execute function ledger.refuse_change();
create trigger identity_refuse_truncate before truncate on ledger.identity
    for each statement execute function ledger.refuse_change();
create trigger rows_refuse_change before update or delete on ledger.rows
    for each row execute function ledger.refuse_change();
create trigger rows_refuse_truncate before truncate on ledger.rows
    for each statement execute function ledger.refuse_change();

grant usage on schema ledger to aegis_executor;
grant select, insert on ledger.identity, ledger.rows to aegis_executor;
