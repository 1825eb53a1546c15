-- What a client may ask for at most, and until when; when it was disabled. What is null is not bounded.
alter table clients
    add column scope_actions text[],
    -- CLUSTER/NAMESPACE, in each of which `*` stands for any characters.
    add column scope_namespaces text[],
    add column requests_per_minute integer,
    add column expires_at timestamptz,
    add column disabled_at timestamptz;

alter table client_keys
    add column expires_at timestamptz,
    -- To the minute. Nothing rests on it, so no entry tells of it.
    add column last_used_at timestamptz;
