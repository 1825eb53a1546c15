-- What a policy goes back to, and whose it is.
alter table policies add column previous_version integer;
-- The sync that a policy belongs to; then nothing else changes it.
alter table policies add column managed_by text;
alter table policies add constraint policies_previous_version_fkey
    foreign key (name, previous_version) references policy_versions (name, version);
-- Replay reads decisions by their time. They are stored in that order, so that a few bytes for each
-- range of pages are enough.
create index decisions_decided_at_idx on decisions using brin (decided_at);
