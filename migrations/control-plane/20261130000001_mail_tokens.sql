-- What is to be mailed to somebody who asked for it, whoever that was. Who is behind an address is found out when it is
-- sent, so that asking is the same for everybody. The token in it is not stored: it follows from the id and the root key.
create table mails (
    id uuid constraint mails_pkey primary key,
    purpose text not null constraint mails_purpose_check check (purpose in ('password-reset', 'sign-up')),
    -- As whoever asked has written it.
    email text not null,
    request_id text not null,
    -- Whether it is known what is sent, and the hash of its token stored.
    is_prepared boolean not null default false,
    tries integer not null default 0,
    -- When it is sent next; while it is being sent: when it is taken to be lost.
    due_at timestamptz not null,
    -- When its token is over, and it is given up.
    expires_at timestamptz not null
);
-- Asking again while it waits is the same.
create unique index mails_waiting_key on mails (purpose, lower(email));
create index mails_due_at_idx on mails (due_at);

-- When something was mailed in the last hour. A recipient is a keyed hash of the address, and of what it was about.
create table mailed_recipients (
    recipient text constraint mailed_recipients_pkey primary key,
    sent_at timestamptz[] not null
);

-- What somebody who forgot their password chooses another one with, as SHA-256.
create table password_resets (
    hash bytea constraint password_resets_pkey primary key,
    user_id uuid not null constraint password_resets_user_id_fkey references users,
    expires_at timestamptz not null
);
create index password_resets_user_id_idx on password_resets (user_id);

-- What somebody who signed up chooses their first password with, as SHA-256. There is no person before that.
create table sign_ups (
    hash bytea constraint sign_ups_pkey primary key,
    email text not null,
    expires_at timestamptz not null
);
create index sign_ups_email_idx on sign_ups (lower(email));

grant select, insert, update, delete on mails, mailed_recipients to aegis_control_plane;
grant select, insert, delete on password_resets, sign_ups to aegis_control_plane;
