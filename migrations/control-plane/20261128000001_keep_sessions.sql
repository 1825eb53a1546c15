-- Sessions of people, one for each sign-in. Every token is good only while its session is.
create table sessions (
    id uuid constraint sessions_pkey primary key,
    user_id uuid not null constraint sessions_user_id_fkey references users,
    -- What the person signed in with, in its own words: to be recognised by, and no evidence.
    agent text not null,
    created_at timestamptz not null,
    refreshed_at timestamptz not null,
    -- When it ends by itself, unless it is refreshed before.
    expires_at timestamptz not null,
    -- When somebody ended it; null while nobody has.
    ended_at timestamptz
);
create index sessions_live_idx on sessions (user_id, id) where ended_at is null;
create index sessions_expires_at_idx on sessions (expires_at);

-- What continues sessions, as SHA-256. A token that was used stays known, so that it is noticed when it comes again.
create table refresh_tokens (
    hash bytea constraint refresh_tokens_pkey primary key,
    session_id uuid not null constraint refresh_tokens_session_id_fkey references sessions on delete cascade,
    -- When it was replaced by its successor; null for the newest one of its session.
    used_at timestamptz
);
create index refresh_tokens_session_id_idx on refresh_tokens (session_id);

alter table users add column name text;

grant select, insert, update, delete on sessions, refresh_tokens to aegis_control_plane;
