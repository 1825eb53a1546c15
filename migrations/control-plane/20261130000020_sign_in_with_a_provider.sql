-- Whom an identity provider knows, by what it calls them; never by an e-mail address.
create table user_identities (
    issuer text not null,
    subject text not null,
    user_id uuid not null constraint user_identities_user_id_fkey references users
        constraint user_identities_user_id_key unique,
    created_at timestamptz not null,
    constraint user_identities_pkey primary key (issuer, subject)
);

-- Where a role comes from: given by people, or read from the provider's claims with each sign-in, which takes it again.
alter table user_roles add column source text not null default 'given'
    constraint user_roles_source_check check (source in ('given', 'claims'));

-- Sign-ins at the provider that are under way.
create table sign_in_flows (
    id uuid constraint sign_in_flows_pkey primary key,
    -- SHA-256 of what comes back from the provider with the person. Good once.
    state_hash bytea not null constraint sign_in_flows_state_hash_key unique,
    -- S256 of what only the program holds that began it.
    challenge text not null,
    -- Where that program listens, on the loopback address of its machine.
    port integer not null constraint sign_in_flows_port_check check (port between 1 and 65535),
    expires_at timestamptz not null,
    -- When somebody came back from the provider.
    answered_at timestamptz,
    -- Whom the provider proved, encrypted under the root key; and SHA-256 of what the program gets the session for.
    sealed_identity bytea,
    code_hash bytea constraint sign_in_flows_code_hash_key unique
);
create index sign_in_flows_expires_at_idx on sign_in_flows (expires_at);

grant select, insert on user_identities to aegis_control_plane;
grant select, insert, update, delete on sign_in_flows to aegis_control_plane;
