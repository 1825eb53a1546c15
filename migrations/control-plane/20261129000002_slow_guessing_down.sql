-- How long sign-ins wait. What a counter is of (an account at an address, an account at addresses that it was never used
-- from, such an address) is its keyed hash.
create table sign_in_delays (
    counter text constraint sign_in_delays_pkey primary key,
    -- Passwords that were wrong, or are not judged yet.
    failures integer not null,
    -- Nobody may try before.
    free_at timestamptz not null
);
create index sign_in_delays_free_at_idx on sign_in_delays (free_at);

-- Where people have signed in from: keyed hashes of addresses.
create table known_addresses (
    user_id uuid not null constraint known_addresses_user_id_fkey references users,
    address text not null,
    seen_at timestamptz not null,
    constraint known_addresses_pkey primary key (user_id, address)
);
create index known_addresses_seen_at_idx on known_addresses (seen_at);

grant select, insert, update, delete on sign_in_delays, known_addresses to aegis_control_plane;
