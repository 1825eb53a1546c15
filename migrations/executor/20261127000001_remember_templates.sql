-- What became of the pod templates of workloads: seen available for long enough to return to, or rolled back from.
create table ledger.templates (
    -- `metadata.uid`: another object of the same name has a history of its own.
    workload_uid text not null,
    template_digest bytea not null constraint templates_template_digest_check check (length(template_digest) = 32),
    verdict text not null constraint templates_verdict_check check (verdict in ('good', 'bad')),
    at timestamptz not null default now(),
    constraint templates_pkey primary key (workload_uid, template_digest, verdict)
);

create trigger templates_refuse_change before update or delete on ledger.templates
    for each row execute function ledger.refuse_change();
create trigger templates_refuse_truncate before truncate on ledger.templates
    for each statement execute function ledger.refuse_change();

grant select, insert on ledger.templates to aegis_executor;
