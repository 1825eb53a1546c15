-- Policies: every version is kept; the active ones together are the policy set.
create table policies (
    name text constraint policies_pkey primary key,
    latest_version integer not null,
    active_version integer,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table policy_versions (
    name text not null constraint policy_versions_name_fkey references policies deferrable initially deferred,
    version integer not null,
    -- Canonical JSON (RFC 8785): the bytes of the digest.
    document text not null,
    digest text not null,
    created_by text not null,
    created_at timestamptz not null,
    -- The audit entry that holds the same digest.
    entry_id uuid not null constraint policy_versions_entry_id_fkey references audit.entries,
    constraint policy_versions_pkey primary key (name, version)
);
alter table policies add constraint policies_active_version_fkey
    foreign key (name, active_version) references policy_versions (name, version);

-- One row: what is active now. Claims lock it `for share`, activations `for update`.
create table policy_set (
    one boolean constraint policy_set_pkey primary key default true constraint policy_set_one_check check (one),
    digest text not null,
    activated_at timestamptz not null
);

-- Every set that was ever active: enough to decide an old question again.
create table policy_sets (
    digest text constraint policy_sets_pkey primary key,
    -- [{"name", "version", "digest"}], sorted by name.
    members jsonb not null,
    first_active_at timestamptz not null
);

-- Nothing is active in the beginning; the digest is that of the empty set, `[]`.
insert into policy_set (digest, activated_at)
    values ('sha256:' || encode(sha256('[]'), 'hex'), now());
insert into policy_sets (digest, members, first_active_at)
    select digest, '[]', activated_at from policy_set;

create trigger policy_versions_refuse_change before update or delete on policy_versions
    for each row execute function audit.refuse_change();
create trigger policy_versions_refuse_truncate before truncate on policy_versions
    for each statement execute function audit.refuse_change();

grant select, insert, update on policies, policy_set to aegis_control_plane;
grant select, insert on policy_versions, policy_sets to aegis_control_plane;
